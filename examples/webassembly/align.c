#include "align.h"

#include <stdlib.h>

enum { STOP = 0, DIAGONAL = 1, UP = 2, LEFT = 3, MOVE = 3, UP_OPENS = 4, LEFT_OPENS = 8 };

static int larger(int a, int b) { return a > b ? a : b; }

static void walk_back(const char *a, const char *b, size_t width, const unsigned char *moves, size_t row,
                      size_t column, struct alignment *result) {
    int state = moves[row * width + column] & MOVE;
    result->end_a = row;
    result->end_b = column;
    while (state != STOP) {
        unsigned char move = moves[row * width + column];
        result->length++;
        if (state == DIAGONAL) {
            row--;
            column--;
            result->identical += a[row] == b[column];
            state = moves[row * width + column] & MOVE;
        } else if (state == UP) {
            row--;
            if (move & UP_OPENS) state = moves[row * width + column] & MOVE;
        } else {
            column--;
            if (move & LEFT_OPENS) state = moves[row * width + column] & MOVE;
        }
    }
    result->begin_a = row;
    result->begin_b = column;
}

int align(const char *a, size_t len_a, const char *b, size_t len_b, const struct scores *scores,
          struct alignment *result) {
    size_t width = len_b + 1, best_row = 0, best_column = 0;
    unsigned char *moves = calloc((len_a + 1) * width, 1);
    int *best = calloc(width, sizeof *best), *above = calloc(width, sizeof *above);
    *result = (struct alignment){0};
    if (!moves || !best || !above) {
        free(moves), free(best), free(above);
        return -1;
    }
    for (size_t column = 0; column < width; column++) above[column] = scores->open;
    for (size_t row = 1; row <= len_a; row++) {
        int corner = 0, left = scores->open;
        for (size_t column = 1; column < width; column++) {
            int same = a[row - 1] == b[column - 1];
            int diagonal = corner + (same ? scores->match : scores->mismatch);
            int opened_up = best[column] + scores->open, opened_left = best[column - 1] + scores->open;
            unsigned char move = STOP;
            int up = larger(opened_up, above[column] + scores->extend);
            int beside = larger(opened_left, left + scores->extend);
            if (up == opened_up) move |= UP_OPENS;
            if (beside == opened_left) move |= LEFT_OPENS;
            corner = best[column];
            above[column] = up;
            left = beside;
            int value = larger(larger(0, diagonal), larger(up, beside));
            if (value > 0) move |= value == diagonal ? DIAGONAL : value == up ? UP : LEFT;
            best[column] = value;
            moves[row * width + column] = move;
            if (value > result->score) {
                result->score = value;
                best_row = row;
                best_column = column;
            }
        }
    }
    walk_back(a, b, width, moves, best_row, best_column, result);
    free(moves), free(best), free(above);
    return 0;
}
