/* Finds the proteins of a FASTA file that are most alike to a query: Smith-Waterman with affine gaps and BLOSUM62.
 *
 *   align QUERY.fasta DATABASE.fasta [HITS]
 *
 * Inputs lie in $IEXEC_IN, hits.tsv goes to $IEXEC_OUT, progress to $FAIRGRID_PROGRESS. All arithmetic is of integers and
 * the program is static, so every machine of the architecture gives the same bytes. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "ARNDCQEGHILKMFPSTWYV";
static const signed char blosum62[20][20] = {
    {4, -1, -2, -2, 0, -1, -1, 0, -2, -1, -1, -1, -1, -2, -1, 1, 0, -3, -2, 0},
    {-1, 5, 0, -2, -3, 1, 0, -2, 0, -3, -2, 2, -1, -3, -2, -1, -1, -3, -2, -3},
    {-2, 0, 6, 1, -3, 0, 0, 0, 1, -3, -3, 0, -2, -3, -2, 1, 0, -4, -2, -3},
    {-2, -2, 1, 6, -3, 0, 2, -1, -1, -3, -4, -1, -3, -3, -1, 0, -1, -4, -3, -3},
    {0, -3, -3, -3, 9, -3, -4, -3, -3, -1, -1, -3, -1, -2, -3, -1, -1, -2, -2, -1},
    {-1, 1, 0, 0, -3, 5, 2, -2, 0, -3, -2, 1, 0, -3, -1, 0, -1, -2, -1, -2},
    {-1, 0, 0, 2, -4, 2, 5, -2, 0, -3, -3, 1, -2, -3, -1, 0, -1, -3, -2, -2},
    {0, -2, 0, -1, -3, -2, -2, 6, -2, -4, -4, -2, -3, -3, -2, 0, -2, -2, -3, -3},
    {-2, 0, 1, -1, -3, 0, 0, -2, 8, -3, -3, -1, -2, -1, -2, -1, -2, -2, 2, -3},
    {-1, -3, -3, -3, -1, -3, -3, -4, -3, 4, 2, -3, 1, 0, -3, -2, -1, -3, -1, 3},
    {-1, -2, -3, -4, -1, -2, -3, -4, -3, 2, 4, -2, 2, 0, -3, -2, -1, -2, -1, 1},
    {-1, 2, 0, -1, -3, 1, 1, -2, -1, -3, -2, 5, -1, -3, -1, 0, -1, -3, -2, -2},
    {-1, -1, -2, -3, -1, 0, -2, -3, -2, 1, 2, -1, 5, 0, -2, -1, -1, -1, -1, 1},
    {-2, -3, -3, -3, -2, -3, -3, -3, -1, 0, 0, -3, 0, 6, -4, -2, -2, 1, 3, -1},
    {-1, -2, -2, -1, -3, -1, -1, -2, -2, -3, -3, -1, -2, -4, 7, -1, -1, -4, -3, -2},
    {1, -1, 1, 0, -1, 0, 0, 0, -1, -2, -2, 0, -1, -2, -1, 4, 1, -3, -2, -2},
    {0, -1, 0, -1, -1, -1, -1, -2, -2, -1, -1, -1, -1, -2, -1, 1, 5, -2, -2, 0},
    {-3, -3, -4, -4, -2, -2, -3, -2, -2, -3, -2, -3, -1, 1, -4, -3, -2, 11, 2, -3},
    {-2, -2, -2, -3, -2, -1, -2, -3, 2, -1, -1, -2, -1, 3, -3, -2, -2, 2, 7, -1},
    {0, -3, -3, -3, -1, -2, -2, -3, -3, 3, 1, -2, 1, -1, -2, -2, 0, -3, -1, 4},
};
enum { OPEN = 11, EXTEND = 1, UNKNOWN = -1 };

typedef struct {
    char *name;
    signed char *codes;
    int length, score;
} Protein;

static void *more(void *memory, size_t bytes) {
    memory = realloc(memory, bytes);
    if (!memory) {
        fprintf(stderr, "There is not enough memory.\n");
        exit(3);
    }
    return memory;
}

static Protein *read_fasta(const char *name, int *count) {
    char path[4096], *line = NULL;
    size_t room = 0;
    Protein *proteins = NULL;
    const char *folder = getenv("IEXEC_IN");
    snprintf(path, sizeof path, "%s/%s", folder ? folder : ".", name);
    FILE *file = fopen(path, "r");
    if (!file) {
        fprintf(stderr, "The input %s cannot be read.\n", name);
        exit(2);
    }
    *count = 0;
    while (getline(&line, &room, file) >= 0) {
        line[strcspn(line, "\r\n")] = 0;
        if (*line == '>') {
            proteins = more(proteins, (*count + 1) * sizeof *proteins);
            line[strcspn(line, " \t")] = 0;
            proteins[(*count)++] = (Protein){strdup(line + 1), NULL, 0, 0};
        } else if (*count) {
            Protein *protein = &proteins[*count - 1];
            protein->codes = more(protein->codes, protein->length + strlen(line) + 1);
            for (char *letter = line; *letter; letter++) {
                const char *place = strchr(letters, toupper((unsigned char)*letter));
                if (isalpha((unsigned char)*letter))
                    protein->codes[protein->length++] = place ? (signed char)(place - letters) : UNKNOWN;
            }
        }
    }
    free(line);
    fclose(file);
    if (!*count) {
        fprintf(stderr, "The input %s holds no protein.\n", name);
        exit(2);
    }
    return proteins;
}

static int score(const Protein *query, const Protein *other, int *best, int *gap) {
    int highest = 0;
    memset(best, 0, (query->length + 1) * sizeof *best);
    for (int i = 0; i <= query->length; i++) gap[i] = -OPEN;
    for (int row = 0; row < other->length; row++) {
        int diagonal = 0, across = -OPEN;
        for (int i = 1; i <= query->length; i++) {
            int a = query->codes[i - 1], b = other->codes[row];
            int here = diagonal + (a < 0 || b < 0 ? -1 : blosum62[a][b]);
            gap[i] = (best[i] - OPEN > gap[i] - EXTEND) ? best[i] - OPEN : gap[i] - EXTEND;
            across = (best[i - 1] - OPEN > across - EXTEND) ? best[i - 1] - OPEN : across - EXTEND;
            if (here < gap[i]) here = gap[i];
            if (here < across) here = across;
            if (here < 0) here = 0;
            diagonal = best[i];
            best[i] = here;
            if (here > highest) highest = here;
        }
    }
    return highest;
}

static int by_score(const void *left, const void *right) {
    const Protein *a = left, *b = right;
    return a->score != b->score ? b->score - a->score : strcmp(a->name, b->name);
}

static void tell(int done, int all) {
    const char *place = getenv("FAIRGRID_PROGRESS");
    FILE *file = place ? fopen(place, "w") : NULL;
    if (!file) return;
    fprintf(file, "%.4f %d of %d proteins\n", (double)done / all, done, all);
    fclose(file);
}

int main(int count, char **words) {
    if (count < 3) {
        fprintf(stderr, "usage: align QUERY.fasta DATABASE.fasta [HITS]\n");
        return 2;
    }
    int queries, proteins, hits = count > 3 ? atoi(words[3]) : 10;
    Protein *query = read_fasta(words[1], &queries), *database = read_fasta(words[2], &proteins);
    size_t cells = (query->length + 1) * sizeof(int);
    int *best = more(NULL, cells), *gap = more(NULL, cells);
    long long work = 0;
    for (int i = 0; i < proteins; i++) {
        database[i].score = score(query, &database[i], best, gap);
        work += (long long)query->length * database[i].length;
        if (i % 64 == 0) tell(i, proteins);
    }
    qsort(database, proteins, sizeof *database, by_score);
    char path[4096];
    const char *folder = getenv("IEXEC_OUT");
    snprintf(path, sizeof path, "%s/hits.tsv", folder ? folder : ".");
    FILE *out = fopen(path, "w");
    if (!out) return 3;
    for (int i = 0; i < proteins && i < hits; i++) fprintf(out, "%s\t%d\t%d\n", database[i].name, database[i].score, database[i].length);
    if (fclose(out)) return 3;
    printf("%d proteins, %lld cells\n", proteins, work);
    return 0;
}
