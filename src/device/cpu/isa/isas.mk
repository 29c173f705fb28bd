# The instruction sets of each architecture (isas.def orders them). The build compiles the files of the folder
# isa/$(ISA_FOLDER_name)/ once per instruction set, with the flags ISA_FLAGS_name and -DPN_ISA=name.

ISAS_x86_64 := avx2 avx512
ISAS_arm64 := neon neon_dotprod neon_i8mm
ISAS := generic $(ISAS_$(ARCH))
# Kernels share nothing between threads but what their callers divide: one set is enough to see a race.
ifeq ($(MODE),tsan)
ISAS := generic $(firstword $(ISAS_$(ARCH)))
endif

# Plain C for every architecture.
ISA_FOLDER_generic := generic
ISA_FLAGS_generic := -ffp-contract=fast

# x86-64 since Haswell and Zen.
ISA_FOLDER_avx2 := x86
ISA_FLAGS_avx2 := -mavx2 -mfma -mf16c -mbmi2 -ffp-contract=fast

# x86-64 since Cascade Lake and Zen 4.
ISA_FOLDER_avx512 := x86
ISA_FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c -mbmi2 -ffp-contract=fast

# Every arm64 processor.
ISA_FOLDER_neon := arm
ISA_FLAGS_neon := -ffp-contract=fast

# SDOT: since Apple M1, Cortex-A76, Graviton 2.
ISA_FOLDER_neon_dotprod := arm
ISA_FLAGS_neon_dotprod := -march=armv8.2-a+fp16+dotprod -ffp-contract=fast

# SMMLA: since Apple M2, Graviton 3.
ISA_FOLDER_neon_i8mm := arm
ISA_FLAGS_neon_i8mm := -march=armv8.2-a+fp16+dotprod+i8mm -ffp-contract=fast
