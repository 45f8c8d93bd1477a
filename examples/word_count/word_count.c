/* Counts the words of every input and writes the most frequent ones: /iexec_out/words.csv, /iexec_out/files.csv.
 *
 * usage: word_count [MOST]   (how many words, 100 unless it is said)
 *
 * Words are runs of ASCII letters, in lower case. Order and content depend on nothing but the inputs, so every machine
 * writes the same bytes: files are sorted by name, words by count and then by spelling.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { BUCKETS = 1 << 16, LONGEST = 64 };

typedef struct Word {
    struct Word *next;
    unsigned long count;
    char text[];
} Word;

static Word *buckets[BUCKETS];
static size_t known;

static void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void count(const char *text, size_t length) {
    unsigned hash = 2166136261u;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    Word **place = &buckets[hash % BUCKETS];
    for (Word *word = *place; word; word = word->next)
        if (!strcmp(word->text, text)) {
            word->count++;
            return;
        }
    Word *word = malloc(sizeof *word + length + 1);
    if (!word) fail("memory");
    word->next = *place;
    word->count = 1;
    memcpy(word->text, text, length + 1);
    *place = word;
    known++;
}

static unsigned long read_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    char text[LONGEST + 1];
    size_t length = 0;
    unsigned long words = 0;
    for (int letter = getc_unlocked(file);; letter = getc_unlocked(file)) {
        if (letter != EOF && isascii(letter) && isalpha(letter)) {
            if (length < LONGEST) text[length++] = (char)tolower(letter);
            continue;
        }
        if (length) {
            text[length] = 0;
            count(text, length);
            words++;
            length = 0;
        }
        if (letter == EOF) break;
    }
    if (ferror(file)) fail(path);
    fclose(file);
    return words;
}

static int by_count(const void *left, const void *right) {
    const Word *a = *(Word *const *)left, *b = *(Word *const *)right;
    if (a->count != b->count) return a->count < b->count ? 1 : -1;
    return strcmp(a->text, b->text);
}

static int is_named(const struct dirent *entry) {
    /* The same inputs are there once more under the names of their hashes. */
    return entry->d_name[0] != '.' && strncmp(entry->d_name, "0x", 2) != 0;
}

int main(int words, char **given) {
    const char *in = getenv("IEXEC_IN"), *out = getenv("IEXEC_OUT");
    unsigned long most = words > 1 ? strtoul(given[1], NULL, 10) : 100, all = 0;
    struct dirent **entries;
    char path[4096];
    if (!in || !out || !most) {
        fprintf(stderr, "usage: word_count [MOST], with IEXEC_IN and IEXEC_OUT set\n");
        return 2;
    }
    int found = scandir(in, &entries, is_named, alphasort);
    if (found < 0) fail(in);
    snprintf(path, sizeof path, "%s/files.csv", out);
    FILE *files = fopen(path, "w");
    if (!files) fail(path);
    fprintf(files, "file,words\n");
    for (int i = 0; i < found; i++) {
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", in, entries[i]->d_name);
        if (stat(path, &about) || !S_ISREG(about.st_mode)) continue;
        unsigned long here = read_file(path);
        all += here;
        fprintf(files, "%s,%lu\n", entries[i]->d_name, here);
    }
    if (fclose(files)) fail("files.csv");
    Word **sorted = malloc((known ? known : 1) * sizeof *sorted);
    size_t number = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (Word *word = buckets[i]; word; word = word->next) sorted[number++] = word;
    qsort(sorted, number, sizeof *sorted, by_count);
    snprintf(path, sizeof path, "%s/words.csv", out);
    FILE *result = fopen(path, "w");
    if (!result) fail(path);
    fprintf(result, "word,count\n");
    for (size_t i = 0; i < number && i < most; i++) fprintf(result, "%s,%lu\n", sorted[i]->text, sorted[i]->count);
    if (fclose(result)) fail("words.csv");
    printf("%lu words, %zu different, in %d files\n", all, known, found);
    return 0;
}
