ISA_ARCH_neon_dotprod := arm64
ISA_FLAGS_neon_dotprod := -march=armv8.2-a+dotprod+fp16
