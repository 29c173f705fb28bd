/* Golden values of the storage types, printed by `python tests/diff/storage_types.py --golden` with
 * the gguf package 0.19.0 and ggml 0.25.3 as shipped in llama-cpp-python 0.3.36, numpy 2.4.6.
 * decode: CRC-32 of 512 seeded random blocks (4096 values of plain types) decoded by gguf.quants.dequantize,
 *   or by the format's definition in numpy for Q8_1, Q8_K, Q1_0, Q2_0 and plain types; every NaN as 0x7FC00000.
 * encode: CRC-32 of the bytes that gguf.quants.quantize makes of 8192 seeded values; 0 where it has no encoder or
 *   encodes differently.
 * error: relative RMS error of ggml_quantize_chunk on the same values; 0 where there is none. */
static const struct golden golden[] = {
    {"f32", 0x72cb43b9, 0x0d293751, 0},
    {"f16", 0xbdc6a380, 0x25b9e0eb, 0.000232037},
    {"q4_0", 0x4fe9e033, 0x248abca9, 0.156552},
    {"q4_1", 0xae5f4a8b, 0xb1d17b73, 0.110532},
    {"q5_0", 0xa000b20f, 0x6128b764, 0.0873503},
    {"q5_1", 0x26979193, 0x114144bf, 0.0514448},
    {"q8_0", 0xd7faae42, 0xdbf3a847, 0.010789},
    {"q8_1", 0x96a105c4, 0x00000000, 0.010789},
    {"q2_k", 0x1d508a0d, 0x00000000, 0.265698},
    {"q3_k", 0x52e01894, 0x00000000, 0.165493},
    {"q4_k", 0xb07dcb34, 0x00000000, 0.0982713},
    {"q5_k", 0x286024e0, 0x00000000, 0.049963},
    {"q6_k", 0x797762db, 0x00000000, 0.0309472},
    {"q8_k", 0x59b4cf6a, 0x00000000, 0.0246113},
    {"iq2_xxs", 0x8cb1cbe8, 0x00000000, 0},
    {"iq2_xs", 0xe345208d, 0x00000000, 0},
    {"iq3_xxs", 0x3801854e, 0x00000000, 0},
    {"iq1_s", 0xe79aebf0, 0x00000000, 0},
    {"iq4_nl", 0x71fffb11, 0x00000000, 0.124512},
    {"iq3_s", 0xdd2d15c3, 0x00000000, 0},
    {"iq2_s", 0x73a90a8f, 0x00000000, 0},
    {"iq4_xs", 0x4ee686d1, 0x00000000, 0.12614},
    {"i8", 0x922f58f0, 0x00000000, 0},
    {"i16", 0x27a328f5, 0x00000000, 0},
    {"i32", 0x07ec7510, 0x00000000, 0},
    {"i64", 0x61dd0a53, 0x00000000, 0},
    {"f64", 0x2e100633, 0x00000000, 0},
    {"iq1_m", 0x6ea865d0, 0x00000000, 0},
    {"bf16", 0x382c03f0, 0xa9b6939f, 0.00187596},
    {"tq1_0", 0x332f58fb, 0x21aa9862, 0.572427},
    {"tq2_0", 0xa54ca37c, 0x685d838a, 0.572427},
    {"mxfp4", 0xdcd08cd7, 0x00000000, 0.175986},
    {"nvfp4", 0x0eac2eb0, 0x00000000, 0.0940138},
    {"q1_0", 0x10ba9772, 0x00000000, 0.893883},
    {"q2_0", 0x87ca0dbb, 0x00000000, 0.436018},
};
