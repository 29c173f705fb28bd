/* How long the heads of model files are: of a real file, of every beginning of it, and of damaged ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/file.h"
#include "store/heads.h"
#include "tiny_model.h"

#include <stdlib.h>
#include <string.h>

/* Where the head of a file without padding ends: after the last tensor's place. */
static size_t end_of_head(const char *bytes, size_t n, const char *last_tensor)
{
    size_t len = strlen(last_tensor);
    for (size_t i = n - len; i > 0; i--)
        if (memcmp(bytes + i, last_tensor, len) == 0) {
            uint32_t n_dims;
            memcpy(&n_dims, bytes + i + len, sizeof n_dims);
            return i + len + 4 + 8 * n_dims + 4 + 8;
        }
    return 0;
}

/* Fetching what is needed, again and again, ends at the head's end, and every step asks for more than is there. */
static void a_head_grows_to_its_end(void **state)
{
    (void)state;
    const char *path = tiny_model("llama", GW_F32, "heads.gguf");
    char *bytes = NULL;
    size_t n = 0, steps = 0;
    uint64_t need = 0;
    struct pantry_error err;
    assert_int_equal(pn_file_read(path, 64 << 20, &bytes, &n, &err), PANTRY_OK);
    assert_int_equal(pn_head_of_gguf(bytes, n, &need, &err), PANTRY_OK);
    size_t head = (size_t)need;
    assert_true(head > 100 && head < n);
    size_t by_name = end_of_head(bytes, head, "output.weight");
    if (!by_name) /* another tensor is the last */
        by_name = head;
    assert_true(by_name <= head);
    for (size_t have = 0; have < head; steps++) {
        assert_int_equal(pn_head_of_gguf(bytes, have, &need, &err), PANTRY_OK);
        assert_true(need > have && need <= head);
        have = (size_t)need;
    }
    assert_true(steps > 10);
    for (size_t have = 1; have < head; have += 7) {
        assert_int_equal(pn_head_of_gguf(bytes, have, &need, &err), PANTRY_OK);
        assert_true(need > have && need <= head);
    }
    free(bytes);
}

static void put(unsigned char *to, uint64_t value, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        to[i] = (unsigned char)(value >> (8 * i));
}

static void damaged_numbers_are_errors(void **state)
{
    (void)state;
    unsigned char b[64] = "GGUF\3";
    uint64_t need;
    struct pantry_error err;
    put(b + 16, 1, 8);  /* values */
    put(b + 24, 2, 8);  /* bytes of the key */
    put(b + 34, 13, 4); /* a type that is not there */
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_FORMAT);
    put(b + 34, 9, 4); /* an array ... */
    put(b + 38, 9, 4); /* ... of arrays */
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_FORMAT);
    put(b + 38, 10, 4); /* ... of 2^61 numbers of 8 bytes, whose product would be 0 */
    put(b + 42, (uint64_t)1 << 61, 8);
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_FORMAT);
    put(b + 42, 1000, 8);
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_OK);
    assert_int_equal(need, 50 + 8000);
    put(b + 24, UINT64_MAX, 8); /* a key of that length */
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_FORMAT);
    b[0] = 'g';
    assert_int_equal(pn_head_of_gguf(b, sizeof b, &need, &err), PANTRY_FORMAT);
    assert_int_equal(pn_head_of_gguf("GG", 2, &need, &err), PANTRY_OK);
    assert_int_equal(need, 8);
}

static void safetensors_say_their_length(void **state)
{
    (void)state;
    unsigned char b[16] = {0};
    uint64_t need;
    struct pantry_error err;
    put(b, 1000, 8);
    assert_int_equal(pn_head_of_safetensors(b, 0, &need, &err), PANTRY_OK);
    assert_int_equal(need, 8);
    assert_int_equal(pn_head_of_safetensors(b, 8, &need, &err), PANTRY_OK);
    assert_int_equal(need, 1008);
    put(b, 100000001, 8);
    assert_int_equal(pn_head_of_safetensors(b, 16, &need, &err), PANTRY_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_grows_to_its_end),
        cmocka_unit_test(damaged_numbers_are_errors),
        cmocka_unit_test(safetensors_say_their_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
