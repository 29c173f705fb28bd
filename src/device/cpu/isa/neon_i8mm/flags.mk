ISA_ARCH_neon_i8mm := arm64
ISA_FLAGS_neon_i8mm := -march=armv8.2-a+dotprod+fp16+i8mm
