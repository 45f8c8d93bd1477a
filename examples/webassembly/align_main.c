/* align FASTA: the best local alignment of every pair of sequences, as a table on standard output and in pairs.tsv. */
#include "align.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, NAME = 64 };

struct sequence {
    char name[NAME];
    char *bases;
    size_t length, room;
};

static int add_base(struct sequence *sequence, int base) {
    if (sequence->length == sequence->room) {
        size_t room = sequence->room ? 2 * sequence->room : 1024;
        char *more = realloc(sequence->bases, room);
        if (!more) return -1;
        sequence->bases = more;
        sequence->room = room;
    }
    sequence->bases[sequence->length++] = (char)toupper(base);
    return 0;
}

static int read_fasta(FILE *file, struct sequence *found) {
    int count = 0, letter;
    while ((letter = getc(file)) != EOF) {
        if (letter == '>') {
            if (count == MOST) return -1;
            char *name = found[count++].name;
            if (!fgets(name, NAME, file)) return -1;
            int whole = strchr(name, '\n') != NULL;
            name[strcspn(name, " \t\r\n")] = '\0';
            while (!whole && (letter = getc(file)) != EOF) whole = letter == '\n';
        } else if (!isspace(letter)) {
            if (!count || !strchr("ACGTNacgtn", letter) || add_base(&found[count - 1], letter)) return -1;
        }
    }
    return count;
}

int main(int argc, char **argv) {
    static struct sequence found[MOST];
    const struct scores scores = {2, -3, -5, -2};
    FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
    if (!file) {
        fprintf(stderr, "usage: align FASTA\n");
        return 2;
    }
    int count = read_fasta(file, found);
    if (count < 2) {
        fprintf(stderr, "%s: not 2 to %d DNA sequences in FASTA\n", argv[1], MOST);
        return 1;
    }
    FILE *table = fopen("pairs.tsv", "w");
    if (!table) return 1;
    for (int a = 0; a < count; a++)
        for (int b = a + 1; b < count; b++) {
            struct alignment best;
            if (align(found[a].bases, found[a].length, found[b].bases, found[b].length, &scores, &best)) {
                fprintf(stderr, "not enough memory for %s and %s\n", found[a].name, found[b].name);
                return 1;
            }
            fprintf(table, "%s\t%s\t%d\t%zu\t%zu\t%zu\t%zu\t%.2f\n", found[a].name, found[b].name, best.score,
                    best.begin_a, best.end_a, best.begin_b, best.end_b,
                    best.length ? 100.0 * (double)best.identical / (double)best.length : 0.0);
            printf("%s %s %d\n", found[a].name, found[b].name, best.score);
        }
    return fclose(table) ? 1 : 0;
}
