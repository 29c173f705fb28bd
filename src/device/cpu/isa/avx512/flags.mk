# x86-64 from Cascade Lake and Zen 4 on.
ISA_ARCH_avx512 := x86_64
ISA_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mbmi2 -ffp-contract=fast
