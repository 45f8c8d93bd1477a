/* Local alignment of two DNA sequences (Smith and Waterman, 1981, with the affine gaps of Gotoh, 1982). */
#ifndef ALIGN_H
#define ALIGN_H

#include <stddef.h>

struct scores {
    int match, mismatch; /* of two bases */
    int open, extend;    /* of a gap; negative */
};

struct alignment {
    int score;
    size_t begin_a, end_a; /* half open */
    size_t begin_b, end_b;
    size_t identical, length;
};

/* The best local alignment of a and b; 0, or -1 when there is not enough memory. Needs len_a * len_b bytes. */
int align(const char *a, size_t len_a, const char *b, size_t len_b, const struct scores *scores,
          struct alignment *result);

#endif
