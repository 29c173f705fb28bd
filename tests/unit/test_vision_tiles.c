/* Pictures in tiles and lines: how many of which size, and what they become in the text; tables and merged states. The
 * numbers of `rows` are transformers' 4.57; tests/diff/vision_tiles.py compares whole models. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "format/names.h"
#include "model/vision/vision.h"

#include <string.h>

enum { TILE = 56, PATCH = 14, SIDE = TILE / PATCH };

static const struct pn_vision_canvas grid[] = {{112, 56}, {56, 112}, {112, 112}, {56, 168}, {168, 56}};

struct size {
    int rows, cols;
};

static const struct {
    int width, height;
    struct size idefics3, llava_next;
    int llava_next_rows; /* of the decoder */
    struct size internvl, pixtral;
} rows[] = {
    {160, 160, {4, 4}, {2, 2}, 88, {3, 3}, {6, 6}},  {300, 100, {2, 4}, {1, 3}, 68, {2, 6}, {2, 6}},
    {90, 210, {4, 2}, {3, 1}, 66, {5, 2}, {6, 3}},   {20, 30, {4, 3}, {1, 2}, 28, {3, 2}, {2, 2}},
    {110, 150, {4, 3}, {2, 2}, 72, {4, 3}, {6, 5}},  {57, 56, {4, 4}, {1, 2}, 36, {1, 1}, {4, 4}},
    {640, 479, {3, 4}, {2, 2}, 70, {3, 4}, {5, 6}},  {333, 1000, {4, 2}, {3, 1}, 76, {6, 2}, {6, 2}},
    {1001, 77, {1, 4}, {1, 3}, 16, {1, 12}, {1, 6}}, {112, 224, {4, 2}, {2, 1}, 56, {4, 2}, {6, 3}},
    {225, 224, {4, 4}, {2, 2}, 88, {3, 3}, {6, 6}},
};
enum { N_ROWS = sizeof rows / sizeof *rows };

static struct pn_vision encoder(const char *type, const char *encoder)
{
    const struct pn_vision_family *f = pn_vision_family_of(type, encoder);
    assert_non_null(f);
    return (struct pn_vision){.family = f,
                              .patch = PATCH,
                              .group = 1,
                              .n_side = SIDE,
                              .sizing = f->sizing == PN_SIZING_NATIVE ? PN_SIZING_NATIVE : PN_SIZING_FIXED,
                              .filter = PN_RESAMPLE_BICUBIC,
                              .width = TILE,
                              .height = TILE,
                              .tile = TILE,
                              .min_tiles = 1,
                              .max_tiles = 12,
                              .longest = 224,
                              .grid = grid,
                              .n_grid = sizeof grid / sizeof *grid,
                              .token_text = "*",
                              .before = "<",
                              .after = ">",
                              .line = "|",
                              .whole = "all"};
}

/* A picture whose every pixel differs from its neighbours. */
static struct pn_image picture(int width, int height)
{
    struct pn_image image;
    assert_int_equal(pn_image_new(width, height, &image, NULL), PANTRY_OK);
    for (int i = 0; i < 3 * width * height; i++)
        image.rgb[i] = (unsigned char)(i * 7 % 251);
    return image;
}

static struct pn_vision_views prepared(const struct pn_vision *v, int width, int height)
{
    struct pn_image image = picture(width, height);
    struct pn_vision_views views;
    assert_int_equal(pn_vision_prepare(v, &image, &views, NULL), PANTRY_OK);
    pn_image_free(&image);
    return views;
}

/* What "<placeholder>" becomes; the caller frees *out. */
static void expand(const struct pn_vision *v, const struct pn_vision_views *views, struct pn_buf *out)
{
    *out = (struct pn_buf){0};
    assert_int_equal(pn_vision_expand(v, "a*b", 3, views, 1, out, NULL), PANTRY_OK);
    pn_buf_append(out, "", 1);
}

static int count(const char *text, char c)
{
    int n = 0;
    for (; *text; text++)
        n += *text == c;
    return n;
}

static void test_sizes(void **state)
{
    (void)state;
    struct pn_vision idefics3 = encoder("idefics3", NULL), next = encoder("llava_next", "clip_vision_model");
    struct pn_vision internvl = encoder("internvl", NULL);
    for (size_t i = 0; i < N_ROWS; i++) {
        struct pn_vision_views views = prepared(&idefics3, rows[i].width, rows[i].height);
        assert_int_equal(views.tile_rows, rows[i].idefics3.rows);
        assert_int_equal(views.tile_cols, rows[i].idefics3.cols);
        assert_int_equal(views.n, rows[i].idefics3.rows * rows[i].idefics3.cols + 1);
        pn_vision_views_free(&views);
        views = prepared(&next, rows[i].width, rows[i].height);
        assert_int_equal(views.tile_rows, rows[i].llava_next.rows);
        assert_int_equal(views.tile_cols, rows[i].llava_next.cols);
        assert_int_equal(pn_vision_picture_rows(&next, &views), rows[i].llava_next_rows);
        pn_vision_views_free(&views);
        views = prepared(&internvl, rows[i].width, rows[i].height);
        int n = rows[i].internvl.rows * rows[i].internvl.cols;
        assert_int_equal(views.tile_rows, rows[i].internvl.rows);
        assert_int_equal(views.n, n > 1 ? n + 1 : 1);
        for (size_t k = 0; k < views.n; k++)
            assert_true(views.view[k].rows == SIDE && views.view[k].cols == SIDE);
        pn_vision_views_free(&views);
    }
}

static void test_lines(void **state)
{
    (void)state;
    struct pn_vision v = encoder("mistral3", "pixtral");
    struct pn_buf text;
    v.patch = 8;
    v.group = 2;
    v.width = v.height = 96;
    for (size_t i = 0; i < N_ROWS; i++) {
        struct size s = rows[i].pixtral;
        struct pn_vision_views views = prepared(&v, rows[i].width, rows[i].height);
        assert_int_equal(views.view->rows, 2 * s.rows);
        assert_int_equal(views.view->cols, 2 * s.cols);
        expand(&v, &views, &text);
        assert_int_equal(count(text.data, '*'), s.rows * s.cols);
        assert_int_equal(count(text.data, '|'), s.rows - 1);
        assert_int_equal(text.data[text.len - 3], '>');
        pn_buf_free(&text);
        pn_vision_views_free(&views);
    }
}

static void test_texts(void **state)
{
    (void)state;
    struct pn_vision v = encoder("smolvlm", NULL);
    struct pn_buf text;
    v.group = 4; /* one row for each view */
    v.longest = 100;
    struct pn_vision_views views = prepared(&v, 100, 50);
    expand(&v, &views, &text);
    assert_string_equal(text.data, "a<<row_1_col_1>*<<row_1_col_2>*\n\n<all*<b");
    pn_buf_free(&text);
    pn_vision_views_free(&views);
    v.max_tiles = 1;
    views = prepared(&v, 100, 50);
    expand(&v, &views, &text);
    assert_string_equal(text.data, "a<all*<b");
    pn_buf_free(&text);
    pn_vision_views_free(&views);
    v = encoder("internvl", NULL);
    v.group = 4;
    views = prepared(&v, 112, 56);
    expand(&v, &views, &text);
    assert_string_equal(text.data, "a<***>b");
    pn_buf_free(&text);
    pn_vision_views_free(&views);
}

/* A picture that fits its canvas is cut, not changed. */
static void test_pixels(void **state)
{
    (void)state;
    struct pn_vision v = encoder("llava_next", "clip_vision_model");
    struct pn_image image = picture(2 * TILE, TILE);
    struct pn_vision_views views;
    assert_int_equal(pn_vision_prepare(&v, &image, &views, NULL), PANTRY_OK);
    assert_int_equal(views.n, 3);
    for (size_t y = 0; y < TILE; y++) {
        const unsigned char *row = image.rgb + y * 3 * 2 * TILE;
        assert_memory_equal(views.view[1].image.rgb + y * 3 * TILE, row, 3 * TILE);
        assert_memory_equal(views.view[2].image.rgb + y * 3 * TILE, row + 3 * TILE, 3 * TILE);
    }
    /* After the whole picture: a line of the first tile, the same line of the second, an end. */
    const int *at = views.order + SIDE * SIDE;
    assert_int_equal(at[0], SIDE * SIDE);
    assert_int_equal(at[SIDE - 1], SIDE * SIDE + SIDE - 1);
    assert_int_equal(at[SIDE], 2 * SIDE * SIDE);
    assert_int_equal(at[2 * SIDE], -1);
    assert_int_equal(at[2 * SIDE + 1], SIDE * SIDE + SIDE);
    pn_vision_views_free(&views);
    pn_image_free(&image);
}

static void test_limits(void **state)
{
    (void)state;
    struct pn_vision v = encoder("idefics3", NULL);
    struct pn_image image = picture(4, 4000);
    struct pn_vision_views views;
    struct pantry_error err;
    v.longest = 0;
    v.tile = 1;
    v.patch = 1;
    assert_int_equal(pn_vision_prepare(&v, &image, &views, &err), PANTRY_LIMIT);
    assert_non_null(strstr(err.text, "too many tiles"));
    pn_image_free(&image);
}

/* Tables have rows of exactly n values, except those whose rows have parts; both end where their bytes end. */
static void test_tables(void **state)
{
    (void)state;
    const float numbers[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    struct pn_tensor_info table = {
        .name = "t", .type = PN_TYPE_F32, .n_dims = 2, .shape = {3, 4, 1, 1}, .data = numbers, .bytes = sizeof numbers};
    struct pn_weights w = {.path = "made up", .tensors = &table, .n_tensors = 1};
    struct pn_vision v = encoder("mllama", NULL);
    float row[4];
    w.tensor_index = pn_name_index_new(&w.arena, 1);
    assert_non_null(w.tensor_index);
    w.tensor_index->entries[0] = (struct pn_name_entry){"t", 0};
    assert_null(pn_name_index_sort(w.tensor_index));
    v.weights = &w;
    assert_true(pn_vision_decode(&v, "t", 2, 4, row));
    assert_float_equal(row[3], 11, 0);
    assert_true(pn_vision_decode_part(&v, "t", 5, 2, row));
    assert_float_equal(row[0], 10, 0);
    assert_false(pn_vision_decode(&v, "t", 1, 2, row));
    assert_false(pn_vision_decode(&v, "t", 3, 4, row));
    assert_false(pn_vision_decode(&v, "t", -1, 4, row));
    assert_false(pn_vision_decode_part(&v, "t", 6, 2, row));
    assert_false(pn_vision_decode_part(&v, "t", -1, 2, row));
    assert_false(pn_vision_decode_part(&v, "t", 0, 3, row));
    assert_false(pn_vision_decode(&v, "other", 0, 4, row));
    pn_arena_free(&w.arena);
}

/* States of 2 x 2 patches with 2 values in each of 2 layers, as one row. */
static void merge(const char *type, const char *name, int n_taps, int n_deep, float merged[16])
{
    struct pn_vision v = encoder(type, name);
    struct pn_vision_view view = {.rows = 2, .cols = 2};
    struct pn_vision_order order;
    float states[16];
    v.n_embd = 2;
    v.group = 2;
    v.n_taps = n_taps;
    v.n_deep = n_deep;
    for (int i = 0; i < 16; i++) /* patch, layer, value */
        states[i] = (float)(100 * (i / 4) + 10 * (i / 2 % 2) + i % 2);
    assert_int_equal(pn_vision_n_states(&v), 4);
    assert_int_equal(pn_vision_order_new(&v, &view, &order, NULL), PANTRY_OK);
    for (int i = 0; i < order.n; i++)
        assert_true(pn_vision_is_output(&v, &order, i));
    assert_int_equal(pn_vision_merge(&v, &view, &order, states, merged, NULL), PANTRY_OK);
    pn_vision_order_free(&order);
}

static void test_merging(void **state)
{
    (void)state;
    const float joined[16] = {0, 1, 100, 101, 200, 201, 300, 301, 10, 11, 110, 111, 210, 211, 310, 311};
    const float woven[16] = {0, 100, 200, 300, 1, 101, 201, 301, 10, 110, 210, 310, 11, 111, 211, 311};
    const float mean[4] = {150, 151, 160, 161};
    float merged[16] = {0};
    merge("qwen3_vl", NULL, 0, 1, merged);
    assert_memory_equal(merged, joined, sizeof joined);
    merge("llava", NULL, 2, 0, merged);
    assert_memory_equal(merged, joined, sizeof joined);
    merge("mistral3", "pixtral", 2, 0, merged);
    assert_memory_equal(merged, woven, sizeof woven);
    merge("gemma3", NULL, 2, 0, merged);
    assert_memory_equal(merged, mean, sizeof mean);
}

/* Which tokens of an encoder count: not a class token that is left out, and never padding. */
static void test_outputs(void **state)
{
    (void)state;
    int rows_of[] = {-1, 0, -2, 1}, tile[] = {0, 0, 0, 1};
    struct pn_vision_order order = {.n = 4, .row = rows_of, .tile = tile};
    struct pn_vision v = {.skip = 1};
    assert_false(pn_vision_is_output(&v, &order, 0));
    v.skip = 0;
    assert_true(pn_vision_is_output(&v, &order, 0));
    assert_true(pn_vision_is_output(&v, &order, 1));
    assert_false(pn_vision_is_output(&v, &order, 2));
    assert_true(pn_vision_is_output(&v, &order, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),   cmocka_unit_test(test_lines),   cmocka_unit_test(test_texts),
        cmocka_unit_test(test_pixels),  cmocka_unit_test(test_limits),  cmocka_unit_test(test_tables),
        cmocka_unit_test(test_merging), cmocka_unit_test(test_outputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
