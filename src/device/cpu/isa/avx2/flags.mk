# x86-64 from Haswell and Zen on.
ISA_ARCH_avx2 := x86_64
ISA_FLAGS_avx2 := -mavx2 -mfma -mf16c -mbmi2 -ffp-contract=fast
