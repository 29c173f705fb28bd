/* The prefix tree: see tree.h.
 *
 * All nodes are in one list, the most recently used first. Using a node moves it and then each of its ancestors to the
 * front, so a parent is always before its children and the last node is always a leaf. */
#include "engine/tree.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct node {
    struct node *parent, *child, *sibling; /* its first child; the next child of its parent */
    struct node *newer, *older;            /* in the list of all nodes */
    int32_t page, state;                   /* -1: none; a root has no page */
    int least;  /* fewest tokens at which a sequence can resume from the node's own state ... */
    int reach;  /* ... and from any state at or below the node; INT_MAX: none */
    int n, end; /* its tokens, and with those of its ancestors */
    int32_t ids[PN_PAGE_TOKENS];
};

struct root {
    char *key; /* "": the shared one */
    struct node node;
    struct root *next;
};

/* Nodes are allocated many at a time and reused, so that a tree that no longer grows allocates nothing. */
enum { SLAB_NODES = 64 };
enum { PATH_STATES = 2 }; /* besides the newest: the ends of the last prompt and of the answer before it */
struct slab {
    struct slab *next;
    struct node nodes[SLAB_NODES];
};

struct pn_tree {
    struct pn_tree_memory memory;
    struct root *roots;
    struct node *newest, *oldest;
    struct slab *slabs;
    struct node *unused; /* a list by .sibling */
    int n_pages, n_states;
};

/* ---- the list ---- */

static void unlink_node(struct pn_tree *t, struct node *n)
{
    *(n->newer ? &n->newer->older : &t->newest) = n->older;
    *(n->older ? &n->older->newer : &t->oldest) = n->newer;
    n->newer = n->older = NULL;
}

static void link_first(struct pn_tree *t, struct node *n)
{
    n->older = t->newest;
    *(t->newest ? &t->newest->newer : &t->oldest) = n;
    t->newest = n;
}

/* Marks a node and its ancestors as used now. */
static void use(struct pn_tree *t, struct node *n)
{
    for (; n->parent; n = n->parent) {
        unlink_node(t, n);
        link_first(t, n);
    }
}

/* ---- nodes ---- */

/* Updates `reach` of a node that lost a state or a child, and of its ancestors. */
static void update_reach(struct node *n)
{
    for (; n; n = n->parent) {
        int reach = n->least;
        for (const struct node *c = n->child; c; c = c->sibling)
            reach = c->reach < reach ? c->reach : reach;
        if (reach == n->reach)
            return;
        n->reach = reach;
    }
}

static void drop_state(struct pn_tree *t, struct node *n)
{
    if (n->state < 0)
        return;
    t->memory.release_state(t->memory.user, n->state);
    n->state = -1;
    n->least = INT_MAX;
    update_reach(n);
    t->n_states--;
}

/* Forgets a leaf. */
static void drop(struct pn_tree *t, struct node *n)
{
    struct node **at = &n->parent->child;
    while (*at != n)
        at = &(*at)->sibling;
    *at = n->sibling;
    unlink_node(t, n);
    drop_state(t, n);
    t->memory.release(t->memory.user, n->page);
    t->n_pages--;
    n->sibling = t->unused;
    t->unused = n;
}

static struct node *node_new(struct pn_tree *t)
{
    struct slab *slab = t->unused ? NULL : calloc(1, sizeof *slab);
    if (slab) {
        slab->next = t->slabs;
        t->slabs = slab;
        for (int i = 0; i < SLAB_NODES; i++) {
            slab->nodes[i].sibling = t->unused;
            t->unused = &slab->nodes[i];
        }
    }
    struct node *node = t->unused;
    if (node)
        t->unused = node->sibling;
    return node;
}

static struct node *add(struct pn_tree *t, struct node *parent, const int32_t *ids, int n, int32_t page)
{
    struct node *node = node_new(t);
    if (!node)
        return NULL;
    *node = (struct node){.parent = parent,
                          .sibling = parent->child,
                          .page = page,
                          .state = -1,
                          .least = INT_MAX,
                          .reach = INT_MAX,
                          .n = n,
                          .end = parent->end + n};
    memcpy(node->ids, ids, (size_t)n * sizeof *ids);
    parent->child = node;
    t->memory.retain(t->memory.user, page);
    t->n_pages++;
    link_first(t, node);
    return node;
}

static int common(const struct node *node, const int32_t *ids, int n)
{
    int i = 0;
    while (i < n && i < node->n && node->ids[i] == ids[i])
        i++;
    return i;
}

/* ---- roots ---- */

static struct root *root_of(const struct pn_tree *t, const char *key)
{
    struct root *r = t->roots;
    while (r && strcmp(r->key, key ? key : "") != 0)
        r = r->next;
    return r;
}

static struct root *root_new(struct pn_tree *t, const char *key)
{
    size_t size = key ? strlen(key) + 1 : 1;
    struct root *r = calloc(1, sizeof *r);
    if (!r || !(r->key = calloc(1, size))) {
        free(r);
        return NULL;
    }
    memcpy(r->key, key ? key : "", size);
    r->node.page = r->node.state = -1;
    r->node.least = r->node.reach = INT_MAX;
    r->next = t->roots;
    t->roots = r;
    return r;
}

/* Drops keys without nodes, so that unused keys take no memory. */
static void drop_empty_roots(struct pn_tree *t)
{
    for (struct root **at = &t->roots; *at;) {
        struct root *r = *at;
        if (r->node.child) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        free(r->key);
        free(r);
    }
}

/* ---- the tree ---- */

pantry_status pn_tree_new(const struct pn_tree_memory *memory, struct pn_tree **out, struct pantry_error *err)
{
    struct pn_tree *t = *out = calloc(1, sizeof *t);
    if (!t)
        return pn_no_memory(err, "the prefix tree");
    t->memory = *memory;
    return PANTRY_OK;
}

void pn_tree_clear(struct pn_tree *t)
{
    while (t->oldest)
        drop(t, t->oldest);
    drop_empty_roots(t);
}

void pn_tree_drop_key(struct pn_tree *t, const char *key)
{
    struct root *root = root_of(t, key);
    for (struct node *n = root ? root->node.child : NULL; n; n = root->node.child) {
        while (n->child)
            n = n->child;
        drop(t, n);
    }
    drop_empty_roots(t);
}

void pn_tree_free(struct pn_tree *t)
{
    if (!t)
        return;
    pn_tree_clear(t);
    while (t->slabs) {
        struct slab *next = t->slabs->next;
        free(t->slabs);
        t->slabs = next;
    }
    free(t);
}

int pn_tree_n_pages(const struct pn_tree *t)
{
    return t->n_pages;
}

int pn_tree_n_states(const struct pn_tree *t)
{
    return t->n_states;
}

/* ---- looking up ---- */

struct found {
    struct node *path; /* the last node that is entirely part of the prefix; the root: none */
    struct node *cut;  /* a child of it whose first tokens end the prefix; NULL: none */
    int n_tokens;
};

/* The longest prefix whose keys and values are all here. */
static struct found longest(struct node *root, const int32_t *ids, int n)
{
    struct found f = {.path = root};
    for (bool deeper = true; deeper;) {
        int most = 0;
        deeper = false;
        f.cut = NULL;
        for (struct node *c = f.path->child; c && !deeper; c = c->sibling) {
            int k = common(c, ids + f.n_tokens, n - f.n_tokens);
            if (k == PN_PAGE_TOKENS) {
                f.path = c;
                deeper = true;
            } else if (k > most) {
                most = k;
                f.cut = c;
            }
        }
        f.n_tokens += deeper ? PN_PAGE_TOKENS : most;
    }
    return f;
}

/* The longest prefix at which a sequence can resume from a state: one at its end, or a later one that reaches back to
 * it. */
static struct found longest_with_state(struct node *root, const int32_t *ids, int n)
{
    struct found best = {.path = root};
    int reach = INT_MAX;
    for (struct node *at = root, *next; at; at = next) {
        next = NULL;
        for (struct node *c = at->child; c; c = c->sibling) {
            int k = common(c, ids + at->end, n - at->end);
            bool whole = k == PN_PAGE_TOKENS;
            if (whole)
                next = c;
            int m = at->end + k;
            if (k > 0 && c->reach <= m && (m > best.n_tokens || (m == best.n_tokens && c->reach < reach))) {
                best = (struct found){whole ? c : at, whole ? NULL : c, m};
                reach = c->reach;
            }
        }
    }
    return best;
}

/* The node at or below `at` whose state reaches back furthest: a sequence that resumes from it can rewind most. */
static struct node *with_state(struct node *at)
{
    while (at->least > at->reach) {
        struct node *c = at->child;
        while (c->reach > at->reach)
            c = c->sibling;
        at = c;
    }
    return at;
}

static struct found look_up(const struct pn_tree *t, struct root *root, const int32_t *ids, int n)
{
    return t->memory.stateful ? longest_with_state(&root->node, ids, n) : longest(&root->node, ids, n);
}

int pn_tree_find(const struct pn_tree *t, const char *key, const int32_t *ids, int n)
{
    struct root *root = root_of(t, key);
    return root ? look_up(t, root, ids, n).n_tokens : 0;
}

void pn_tree_match(struct pn_tree *t, const char *key, const int32_t *ids, int n, int32_t *pages,
                   struct pn_tree_match *out)
{
    struct root *root = root_of(t, key);
    *out = (struct pn_tree_match){.copy = -1, .state = -1};
    if (!root)
        return;
    struct found f = look_up(t, root, ids, n);
    struct node *last = f.cut ? f.cut : f.path;
    out->n_tokens = f.n_tokens;
    out->n_pages = f.n_tokens / PN_PAGE_TOKENS;
    int i = out->n_pages;
    for (struct node *at = f.path; at->parent; at = at->parent) {
        pages[--i] = at->page;
        t->memory.retain(t->memory.user, at->page);
    }
    if (f.cut) {
        out->copy = f.cut->page;
        t->memory.retain(t->memory.user, f.cut->page);
    }
    out->n_known = f.n_tokens;
    if (t->memory.stateful) {
        out->n_known = longest(&root->node, ids, n).n_tokens;
        last = f.n_tokens ? with_state(last) : last;
        out->state = last->state;
    }
    use(t, last);
}

static void add_point(struct pn_tree_path *path, const struct node *n)
{
    if (path->room <= 0)
        return;
    if (path->n_points == path->room)
        memmove(path->points, path->points + 1, (size_t)--path->n_points * sizeof *path->points);
    path->points[path->n_points++] =
        (struct pn_tree_point){.n = n->end, .page = n->page, .state = n->state, .forks = n->child && n->child->sibling};
}

void pn_tree_trace(const struct pn_tree *t, const char *key, const int32_t *ids, int n, int32_t *pages,
                   struct pn_tree_path *path)
{
    const struct root *root = root_of(t, key);
    path->n_pages = path->n_points = 0;
    for (const struct node *at = root ? &root->node : NULL, *next; at; at = next) {
        next = NULL;
        for (const struct node *c = at->child; c; c = c->sibling) {
            int k = common(c, ids + at->end, n - at->end);
            if (k == PN_PAGE_TOKENS)
                next = c;
            else if (k == c->n && c->state >= 0)
                add_point(path, c);
        }
        if (!next)
            break;
        pages[path->n_pages++] = next->page;
        if (next->state >= 0)
            add_point(path, next);
    }
}

/* ---- inserting ---- */

/* Drops leaves that are a prefix of a new child, unless sequences resume from their state. */
static void drop_shorter(struct pn_tree *t, struct node *parent, const int32_t *ids, int n)
{
    for (struct node *c = parent->child, *next; c; c = next) {
        next = c->sibling;
        if (c->n < n && c->state < 0 && common(c, ids, n) == c->n)
            drop(t, c);
    }
}

/* The child with exactly these tokens; in a tree without states, also one that begins with them. */
static struct node *child_for(const struct pn_tree *t, struct node *parent, const int32_t *ids, int n)
{
    for (struct node *c = parent->child; c; c = c->sibling)
        if (common(c, ids, n) == n && (c->n == n || !t->memory.stateful))
            return c;
    return NULL;
}

/* Drops a state and then ancestors with no state at or below them, which are useless. */
static void drop_state_and_path(struct pn_tree *t, struct node *n)
{
    drop_state(t, n);
    while (n->parent && !n->child && n->state < 0) {
        struct node *parent = n->parent;
        drop(t, n);
        n = parent;
    }
}

/* Whether a leaf's tokens are a proper prefix of a sibling's. */
static bool begins(const struct node *n, const struct node *other)
{
    return n != other && n->n < other->n && !n->child && common(n, other->ids, other->n) == n->n;
}

/* Whether a child is a prefix of one of its siblings. */
static bool ends_early(const struct node *parent, const struct node *c)
{
    for (const struct node *o = parent->child; o; o = o->sibling)
        if (begins(c, o))
            return true;
    return false;
}

/* Whether several paths continue from a parent, or from its child `n` that is a prefix of others. */
static bool is_fork(const struct node *parent, const struct node *n)
{
    int ways = 0;
    for (const struct node *c = parent->child; c && ways < 2; c = c->sibling)
        ways += (!n || begins(n, c)) && !ends_early(parent, c);
    return ways > 1;
}

/* Drops old states on a path without forks: as a conversation grows, states at the end of each prompt and answer would
 * pile up, though later ones serve as well. */
static void thin(struct pn_tree *t, struct node *n)
{
    int kept = 0;
    for (struct node *below = n, *at = n->parent; at; below = at, at = at->parent) {
        for (struct node *c = at->child, *next; c; c = next) {
            next = c->sibling;
            if (c->state >= 0 && begins(c, below) && !is_fork(at, c) && ++kept > PATH_STATES)
                drop_state_and_path(t, c);
        }
        if (at->state >= 0 && !is_fork(at, NULL) && ++kept > PATH_STATES)
            drop_state(t, at);
    }
}

static void give_state(struct pn_tree *t, struct node *n, int32_t state)
{
    if (state < 0)
        return;
    if (n->state >= 0 || !n->parent) {
        t->memory.release_state(t->memory.user, state);
        return;
    }
    int back = t->memory.back ? t->memory.back(t->memory.user, state) : 0;
    n->state = state;
    n->least = back < n->end ? n->end - back : 0;
    for (struct node *p = n; p && p->reach > n->least; p = p->parent)
        p->reach = n->least;
    t->n_states++;
}

pantry_status pn_tree_insert(struct pn_tree *t, const char *key, const int32_t *ids, int n, const int32_t *pages,
                             int32_t state, struct pantry_error *err)
{
    if (n <= 0 && state >= 0)
        t->memory.release_state(t->memory.user, state);
    if (n <= 0 || (t->memory.stateful && state < 0))
        return PANTRY_OK;
    struct root *root = root_of(t, key);
    if (!root && !(root = root_new(t, key)))
        goto fail;
    struct node *at = &root->node;
    for (int done = 0; done < n;) {
        int m = n - done < PN_PAGE_TOKENS ? n - done : PN_PAGE_TOKENS;
        struct node *child = child_for(t, at, ids + done, m);
        if (!child) {
            drop_shorter(t, at, ids + done, m);
            child = add(t, at, ids + done, m, pages[done / PN_PAGE_TOKENS]);
        }
        if (!child) {
            use(t, at);
            goto fail;
        }
        at = child;
        done += m;
    }
    give_state(t, at, state);
    use(t, at);
    if (t->memory.thin)
        thin(t, at);
    return PANTRY_OK;
fail:
    if (state >= 0)
        t->memory.release_state(t->memory.user, state);
    return pn_no_memory(err, "the prefix tree");
}

/* ---- evicting ---- */

bool pn_tree_evict(struct pn_tree *t)
{
    for (struct node *n = t->oldest; n; n = n->newer)
        if (!n->child && t->memory.unshared(t->memory.user, n->page)) {
            drop(t, n);
            drop_empty_roots(t);
            return true;
        }
    return false;
}

bool pn_tree_evict_state(struct pn_tree *t)
{
    struct node *n = t->oldest;
    while (n && n->state < 0)
        n = n->newer;
    if (!n)
        return false;
    drop_state_and_path(t, n);
    drop_empty_roots(t);
    return true;
}

void pn_tree_drop_state(struct pn_tree *t, const char *key, const int32_t *ids, int n, int32_t state)
{
    struct root *root = root_of(t, key);
    struct node *at = root ? &root->node : NULL;
    while (at && at->end < n) {
        int left = n - at->end, m = left < PN_PAGE_TOKENS ? left : PN_PAGE_TOKENS;
        at = child_for(t, at, ids + at->end, m);
    }
    if (!at || at->state != state)
        return;
    drop_state_and_path(t, at);
    drop_empty_roots(t);
}
