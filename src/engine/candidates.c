/* Lists of tokens: see candidates.h. */
#include "engine/candidates.h"

/* So that the order does not depend on the way of sorting. */
static bool before(const struct pn_candidate *a, const struct pn_candidate *b)
{
    return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

/* Hoare's selection. */
void pn_candidates_select(struct pn_candidate *c, int n, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        struct pn_candidate pivot = c[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (before(&c[i], &pivot))
                i++;
            while (before(&pivot, &c[j]))
                j--;
            if (i <= j) {
                struct pn_candidate t = c[i];
                c[i++] = c[j];
                c[j--] = t;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

float pn_kth_highest(float *v, int n, int k)
{
    int low = 0, high = n - 1;
    while (low < high) {
        float pivot = v[low + (high - low) / 2];
        int i = low, j = high;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (pivot > v[j])
                j--;
            if (i <= j) {
                float t = v[i];
                v[i++] = v[j];
                v[j--] = t;
            }
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            break;
    }
    return v[k - 1];
}

/* In place (Williams' heapsort, 1964), since qsort may allocate. */
void pn_candidates_sort(struct pn_candidate *c, int n)
{
    for (int start = n / 2 - 1, end = n; end > 1;) {
        int root = start;
        if (start >= 0) {
            start--;
        } else {
            struct pn_candidate t = c[--end];
            c[end] = c[0];
            c[0] = t;
            root = 0;
        }
        for (int child; (child = 2 * root + 1) < end; root = child) {
            if (child + 1 < end && before(&c[child], &c[child + 1]))
                child++; /* the heap's root is the worst */
            if (!before(&c[root], &c[child]))
                break;
            struct pn_candidate t = c[root];
            c[root] = c[child];
            c[child] = t;
        }
    }
}

int pn_candidates_sort_front(struct pn_candidate *c, int n, int done, int k)
{
    while (done < n && done < k) {
        int end = done ? 8 * done : 64;
        end = end > n ? n : end < k ? k : end;
        end = end > n ? n : end;
        pn_candidates_select(c + done, n - done, end - done);
        pn_candidates_sort(c + done, end - done);
        done = end;
    }
    return done;
}
