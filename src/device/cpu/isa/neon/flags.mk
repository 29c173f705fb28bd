ISA_ARCH_neon := arm64
ISA_FLAGS_neon :=
