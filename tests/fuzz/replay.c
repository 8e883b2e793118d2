/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target without libFuzzer: 'replay FOLDER N' gives it every file of the folder, and N
 * mutations of them in all, the same ones each time. Arguments that are files are run as they are,
 * which reproduces a finding.
 */
#include <glib.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SIZE_MAX_INPUT = 1 << 20 };

typedef struct {
    char *data;
    gsize size;
} Seed;

static void run(const char *data, gsize size)
{
    /* An allocation of exactly that size: sanitizers see every access past its end. */
    uint8_t *copy = malloc(size ? size : 1);

    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void mutate_once(GString *s, GRand *rand, const Seed *other)
{
    static const char interesting[] = "\0\xff\x7f\x80{}[]\",.:=0-";
    gsize at = s->len ? (gsize)g_rand_int_range(rand, 0, s->len) : 0;
    gsize len = s->len - at ? (gsize)g_rand_int_range(rand, 0, MIN(s->len - at, 64)) : 0;

    switch (g_rand_int_range(rand, 0, 6)) {
    case 0:
        if (s->len) {
            s->str[at] ^= 1 << g_rand_int_range(rand, 0, 8);
        }
        break;
    case 1:
        if (s->len) {
            s->str[at] = interesting[g_rand_int_range(rand, 0, sizeof interesting - 1)];
        }
        break;
    case 2:
        g_string_erase(s, at, len);
        break;
    case 3:
        g_string_insert_c(s, at, g_rand_int_range(rand, 0, 256));
        break;
    case 4: {
        char piece[64];
        memcpy(piece, s->str + at, len);
        g_string_insert_len(s, at, piece, len);
        break;
    }
    default:
        if (other->size) {
            gsize from = g_rand_int_range(rand, 0, other->size);
            g_string_insert_len(s, at, other->data + from, MIN(other->size - from, 64));
        }
        break;
    }
}

static void run_mutations(const GArray *seeds, int n)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);

    for (int i = 0; i < n; i++) {
        const Seed *seed = &g_array_index(seeds, Seed, i % seeds->len);
        g_autoptr(GString) s = g_string_new_len(seed->data, seed->size);
        for (int k = g_rand_int_range(rand, 1, 8); k > 0; k--) {
            mutate_once(s, rand,
                        &g_array_index(seeds, Seed, g_rand_int_range(rand, 0, seeds->len)));
        }
        run(s->str, MIN(s->len, SIZE_MAX_INPUT));
    }
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Sorted, because the order of a folder's entries depends on the file system. */
static GPtrArray *list_folder(const char *path)
{
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    GDir *dir = g_dir_open(path, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_ptr_array_add(names, g_build_filename(path, name, NULL));
    }
    if (dir) {
        g_dir_close(dir);
    }
    g_ptr_array_sort(names, compare_names);
    return names;
}

static void load(GArray *seeds, const char *path)
{
    Seed seed;

    if (g_file_get_contents(path, &seed.data, &seed.size, NULL)) {
        g_array_append_val(seeds, seed);
        run(seed.data, seed.size);
    } else {
        fprintf(stderr, "cannot read %s\n", path);
    }
}

int main(int argc, char **argv)
{
    g_autoptr(GArray) seeds = g_array_new(false, false, sizeof(Seed));
    static const Seed empty = {(char *)"", 0};
    int n = 0;

    for (int i = 1; i < argc; i++) {
        if (g_file_test(argv[i], G_FILE_TEST_IS_DIR)) {
            g_autoptr(GPtrArray) names = list_folder(argv[i]);
            for (guint k = 0; k < names->len; k++) {
                load(seeds, g_ptr_array_index(names, k));
            }
        } else if (g_file_test(argv[i], G_FILE_TEST_EXISTS)) {
            load(seeds, argv[i]);
        } else {
            n = atoi(argv[i]);
        }
    }
    guint files = seeds->len;
    if (files == 0) {
        g_array_append_val(seeds, empty);
    }
    run_mutations(seeds, n);
    printf("%u files, %d mutations\n", files, n);
    for (guint i = 0; i < files; i++) {
        g_free(g_array_index(seeds, Seed, i).data);
    }
    return 0;
}
