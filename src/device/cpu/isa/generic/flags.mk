# Plain C for every architecture.
ISA_FLAGS_generic := -ffp-contract=fast
