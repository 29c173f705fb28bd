# arm64, any.
ISA_ARCH_neon := arm64
ISA_FLAGS_neon := -ffp-contract=fast
