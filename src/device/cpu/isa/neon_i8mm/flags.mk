# arm64 with SMMLA: Apple M2, Graviton 3 and later.
ISA_ARCH_neon_i8mm := arm64
ISA_FLAGS_neon_i8mm := -march=armv8.2-a+fp16+dotprod+i8mm -ffp-contract=fast
