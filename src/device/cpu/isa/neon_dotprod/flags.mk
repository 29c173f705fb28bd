# arm64 with SDOT: Apple M1, Cortex-A76, Graviton 2 and later.
ISA_ARCH_neon_dotprod := arm64
ISA_FLAGS_neon_dotprod := -march=armv8.2-a+fp16+dotprod -ffp-contract=fast
