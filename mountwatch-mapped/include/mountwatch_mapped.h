/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * mountwatch's index of one mount namespace in shared memory, version 1: a reader for C11 (GCC, Clang).
 *
 * The memory is an array of 64-bit words in the host's byte order. "a | b" below is a word of two
 * halves, a in the lower 32 bits. Records are known by their number in their region, from 1; 0 is none.
 * A text is "first word | bytes". docs/MAPPED.md says what is promised.
 *
 *   mw_table t;
 *   int error = mw_open(&t, fd, view);          fd and view came over the socket
 *   int yes = mw_is_mount_point(&t, "/mnt", 1, &answer);
 *
 * Functions give 0 or a count, or a negative MW_E* and nothing else. They load each word atomically,
 * never leave the memory, and ask again when the table changed meanwhile. A table may be used by one
 * thread at a time; map it once for each.
 */
#ifndef MOUNTWATCH_MAPPED_H
#define MOUNTWATCH_MAPPED_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first include: memfd seals are of Linux"
#endif
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#define MW_VERSION 1u

/* Words of the header. */
enum {
	MW_H_MAGIC = 0,         /* "mntwatch" */
	MW_H_VERSION = 1,       /* version | words of the header */
	MW_H_WORDS = 2,         /* words of the whole table */
	MW_H_SEED = 3,          /* what hashes begin with */
	MW_H_NAMESPACE = 4,     /* inode of the mount namespace */
	MW_H_NAMESPACE_ID = 5,  /* its ID that is never reused, or 0 */
	MW_H_EPOCH = 6,         /* another one for each table */
	MW_H_FRESH_MAX_NS = 7,  /* older than that: the table is not kept any more */
	MW_H_NAMES = 8,         /* regions: first word | records */
	MW_H_PLACES = 9,
	MW_H_IDS = 10,
	MW_H_DENTRIES = 11,
	MW_H_MOUNTS = 12,
	MW_H_SUPERS = 13,
	MW_H_STRINGS = 14,
	MW_H_VIEWS = 15,
	MW_H_SEQUENCE = 16,     /* odd while the writer is at work */
	MW_H_REVISION = 17,
	MW_H_COVERAGE = 18,     /* MW_COVERAGE_* | sentences */
	MW_H_SENTENCES = 19,    /* a text, a zero byte after each */
	MW_H_COUNTS = 20,       /* mounts | highest number of a mount */
	MW_H_FRESH_NS = 21,     /* CLOCK_MONOTONIC: what was over before is in the table */
	MW_H_STATE = 22,        /* 1: kept, 2: ask for another table, 3: closed */
	MW_HEADER_WORDS = 64
};

/* Words of a dentry: a directory (or file) on the way to a mountpoint or a root. */
enum {
	MW_D_PARENT = 0,        /* parent | first child */
	MW_D_SIBLINGS = 1,      /* next | previous */
	MW_D_NAME = 2,          /* bytes of the name + flags | mounts at which it is a mountpoint */
	MW_D_OWN = 3,           /* the writer's */
	MW_D_TEXT = 4,          /* the name, or its word if it is longer than 48 bytes */
	MW_DENTRY_WORDS = 10
};
#define MW_DENTRY_DELETED (1u << 16)
#define MW_DENTRY_LITERAL (1u << 17)
#define MW_DENTRY_KNOWN (1u << 18)
#define MW_DENTRY_LINKED (1u << 19)
#define MW_NAME_INLINE_BYTES 48u

/* Words of a mount. */
enum {
	MW_M_ID = 0,            /* mount ID | that of the parent */
	MW_M_UNIQUE_ID = 1,
	MW_M_PARENT = 2,        /* parent | first child */
	MW_M_SIBLINGS = 3,      /* next | previous */
	MW_M_ROOT = 4,          /* dentry that it shows | dentry on which it sits */
	MW_M_ATTRIBUTES = 5,    /* mnt_flags | 1: in use, 2: unbindable */
	MW_M_GROUPS = 6,        /* peer group | master */
	MW_M_SUPER = 7,         /* super block | 0 real, 1 kernel object, 2 part, 3 again */
	MW_M_SOURCE = 8,        /* a text */
	MW_M_COVERS = 9,        /* mount below at the same place | device */
	MW_M_SHOWN = 10,        /* the writer's */
	MW_MOUNT_WORDS = 12
};

/* Words of a super block: type and options (texts), flags | 1: options are known. */
enum { MW_S_TYPE = 0, MW_S_OPTIONS = 1, MW_S_FLAGS = 2, MW_S_OWN = 3, MW_SUPER_WORDS = 4 };

enum mw_coverage {
	MW_COVERAGE_COMPLETE = 1,
	MW_COVERAGE_STALE = 2,
	MW_COVERAGE_BLIND = 3,
	MW_COVERAGE_POLLING = 4
};

enum mw_error {
	MW_EPATH = -1,    /* not absolute, or has ".." in it */
	MW_ETABLE = -2,   /* no table, or of another version */
	MW_EDAMAGED = -3, /* makes no sense: connect again */
	MW_EMOVED = -4,   /* another table took its place, or it was closed: connect again */
	MW_ENOTKEPT = -5, /* nobody keeps it: is the agent running? */
	MW_ETORN = -6     /* inside only: the table changed meanwhile */
};

typedef struct mw_region {
	uint32_t start, count;
} mw_region;

typedef struct mw_table {
	const uint64_t *words;
	uint64_t word_count, seed, fresh_max_ns, steps;
	mw_region names, places, ids, dentries, mounts, supers, strings, views;
	uint32_t view;
} mw_table;

/* What an answer rests on. */
typedef struct mw_answer {
	uint64_t revision;
	enum mw_coverage coverage;
	uint64_t fresh_ns; /* CLOCK_MONOTONIC: what was over before is in the answer */
	uint64_t age_ns;   /* how long ago that was, at most */
} mw_answer;

/* A mount, without texts. */
typedef struct mw_mount {
	uint32_t id, parent_id;
	uint64_t unique_id;
	uint32_t attributes, device, peer_group, master, bind;
} mw_mount;

static inline uint32_t mw_low(uint64_t word) { return (uint32_t)word; }
static inline uint32_t mw_high(uint64_t word) { return (uint32_t)(word >> 32); }

static inline uint64_t mw_load(const mw_table *t, uint64_t at)
{
	/* Out of the memory: a number that no record has. */
	return at < t->word_count ? __atomic_load_n(&t->words[at], __ATOMIC_RELAXED) : UINT64_MAX;
}

static inline uint64_t mw_field(const mw_table *t, mw_region r, uint32_t words, uint32_t slot,
				uint32_t field)
{
	if (slot == 0 || slot > r.count)
		return UINT64_MAX;
	return mw_load(t, (uint64_t)r.start + (uint64_t)(slot - 1) * words + field);
}

static inline uint64_t mw_dentry_word(const mw_table *t, uint32_t slot, uint32_t field)
{
	return mw_field(t, t->dentries, MW_DENTRY_WORDS, slot, field);
}

static inline uint64_t mw_mount_word(const mw_table *t, uint32_t slot, uint32_t field)
{
	return mw_field(t, t->mounts, MW_MOUNT_WORDS, slot, field);
}

/* Every loop takes steps; whoever has none left is in a loop that no table has. */
static inline int mw_step(mw_table *t) { return t->steps-- > 0; }

static inline uint64_t mw_fold(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)a * b;
	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

#define MW_MULTIPLIER UINT64_C(0x9e3779b97f4a7c15)

static inline uint32_t mw_finish(uint64_t hash)
{
	uint32_t half = (uint32_t)(hash ^ hash >> 32);
	return half ? half : 1;
}

static inline uint32_t mw_hash_pair(uint64_t seed, uint64_t first, uint64_t second)
{
	return mw_finish(mw_fold(mw_fold(seed ^ first, MW_MULTIPLIER) ^ second, MW_MULTIPLIER));
}

static inline uint64_t mw_name_word(const char *name, size_t bytes, size_t at)
{
	uint64_t word = 0;
	size_t rest = bytes - at;
	memcpy(&word, name + at, rest < 8 ? rest : 8);
	return word;
}

static inline uint32_t mw_hash_name(uint64_t seed, uint32_t parent, const char *name, size_t bytes)
{
	uint64_t hash = mw_fold(seed, MW_MULTIPLIER ^ bytes);
	for (size_t at = 0; at < bytes; at += 8)
		hash = mw_fold(hash ^ mw_name_word(name, bytes, at), MW_MULTIPLIER);
	return mw_finish(mw_fold(hash ^ parent, MW_MULTIPLIER));
}

/* Maps a table. Gives 0 or an error; the descriptor may be closed after that. */
static inline int mw_open(mw_table *t, int fd, uint32_t view)
{
	struct stat stat;
	int seals = fcntl(fd, F_GET_SEALS);
	memset(t, 0, sizeof *t);
	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &stat) ||
	    stat.st_size < MW_HEADER_WORDS * 8)
		return MW_ETABLE;
	void *memory = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		return MW_ETABLE;
	t->words = memory;
	t->word_count = (uint64_t)stat.st_size / 8;
	t->view = view;
	t->seed = mw_load(t, MW_H_SEED);
	t->fresh_max_ns = mw_load(t, MW_H_FRESH_MAX_NS);
	const struct {
		mw_region *region;
		int at;
		uint32_t words;
		int is_hash;
	} regions[] = {
		{ &t->names, MW_H_NAMES, 1, 1 },
		{ &t->places, MW_H_PLACES, 1, 1 },
		{ &t->ids, MW_H_IDS, 1, 1 },
		{ &t->dentries, MW_H_DENTRIES, MW_DENTRY_WORDS, 0 },
		{ &t->mounts, MW_H_MOUNTS, MW_MOUNT_WORDS, 0 },
		{ &t->supers, MW_H_SUPERS, MW_SUPER_WORDS, 0 },
		{ &t->strings, MW_H_STRINGS, 1, 0 },
		{ &t->views, MW_H_VIEWS, 1, 0 },
	};
	uint64_t magic;
	memcpy(&magic, "mntwatch", 8);
	int ok = mw_load(t, MW_H_MAGIC) == magic && mw_low(mw_load(t, MW_H_VERSION)) == MW_VERSION;
	for (size_t i = 0; ok && i < sizeof regions / sizeof *regions; i++) {
		uint64_t word = mw_load(t, (uint64_t)regions[i].at);
		mw_region r = { mw_low(word), mw_high(word) };
		ok = r.start >= MW_HEADER_WORDS && r.count > 0 &&
		     r.start + (uint64_t)r.count * regions[i].words <= t->word_count &&
		     (!regions[i].is_hash || (r.count & (r.count - 1)) == 0);
		*regions[i].region = r;
	}
	if (!ok)
		munmap(memory, (size_t)stat.st_size);
	return ok ? 0 : MW_ETABLE;
}

static inline void mw_close(mw_table *t)
{
	munmap((void *)(uintptr_t)t->words, t->word_count * 8);
	t->words = NULL;
}

static inline int mw_name_is(const mw_table *t, uint32_t dentry, const char *name, size_t bytes)
{
	uint64_t at = (uint64_t)t->dentries.start + (uint64_t)(dentry - 1) * MW_DENTRY_WORDS + MW_D_TEXT;
	if (bytes > MW_NAME_INLINE_BYTES)
		at = mw_low(mw_load(t, at));
	for (size_t i = 0; i < bytes; i += 8)
		if (mw_load(t, at + i / 8) != mw_name_word(name, bytes, i))
			return 0;
	return 1;
}

/* The child of a dentry with that name: 1, 0 or MW_ETORN. */
static inline int mw_child(mw_table *t, uint32_t parent, const char *name, size_t bytes,
			   uint32_t *child)
{
	uint32_t hash = mw_hash_name(t->seed, parent, name, bytes), mask = t->names.count - 1;
	for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
		uint64_t bucket = mw_load(t, (uint64_t)t->names.start + at);
		uint32_t slot = mw_low(bucket);
		if (bucket == 0)
			return 0;
		if (mw_high(bucket) == hash) {
			uint32_t flags = mw_low(mw_dentry_word(t, slot, MW_D_NAME));
			if (slot == 0 || slot > t->dentries.count)
				return MW_ETORN;
			if ((flags & 0xffff) == bytes && (flags & MW_DENTRY_LINKED) &&
			    mw_low(mw_dentry_word(t, slot, MW_D_PARENT)) == parent &&
			    mw_name_is(t, slot, name, bytes)) {
				*child = slot;
				return 1;
			}
		}
		if (!mw_step(t))
			return MW_ETORN;
	}
}

/* The mount on top at a dentry of a mount: 1, 0 or MW_ETORN. */
static inline int mw_mounted_at(mw_table *t, uint32_t mount, uint32_t dentry, uint32_t *top)
{
	uint32_t hash = mw_hash_pair(t->seed, mount, dentry), mask = t->places.count - 1;
	for (uint32_t at = hash & mask;; at = (at + 1) & mask) {
		uint64_t bucket = mw_load(t, (uint64_t)t->places.start + at);
		uint32_t slot = mw_low(bucket);
		if (bucket == 0)
			return 0;
		if (mw_high(bucket) == hash &&
		    mw_low(mw_mount_word(t, slot, MW_M_PARENT)) == mount &&
		    mw_high(mw_mount_word(t, slot, MW_M_ROOT)) == dentry) {
			*top = slot;
			return 1;
		}
		if (!mw_step(t))
			return MW_ETORN;
	}
}

typedef struct mw_end {
	uint32_t mount, dentry;
	int is_whole, is_mountpoint;
} mw_end;

static inline int mw_climb(mw_table *t, mw_end *end)
{
	int more;
	uint32_t above;
	while ((more = mw_mounted_at(t, end->mount, end->dentry, &above)) == 1) {
		end->mount = above;
		end->dentry = mw_low(mw_mount_word(t, above, MW_M_ROOT));
		if (!mw_step(t))
			return MW_ETORN;
	}
	return more;
}

/* Where a path ends: 1, 0 if the view sees nothing, or an error. */
static inline int mw_walk(mw_table *t, const char *path, mw_end *end)
{
	if (t->view >= t->views.count)
		return MW_ETORN;
	uint64_t view = mw_load(t, (uint64_t)t->views.start + t->view);
	if (mw_low(view) == 0)
		return 0;
	*end = (mw_end){ mw_low(view), mw_high(view), 1, 0 };
	for (const char *name = path; *name;) {
		size_t bytes = strcspn(name, "/");
		uint32_t child;
		if (bytes > 0 && !(bytes == 1 && name[0] == '.')) {
			int found = mw_child(t, end->dentry, name, bytes, &child);
			if (found < 0)
				return found;
			if (!found) {
				end->is_whole = 0;
				return 1;
			}
			end->dentry = child;
			if (mw_high(mw_dentry_word(t, child, MW_D_NAME)) > 0 && mw_climb(t, end) < 0)
				return MW_ETORN;
		}
		name += bytes + (name[bytes] == '/');
	}
	end->is_mountpoint = end->dentry == mw_low(mw_mount_word(t, end->mount, MW_M_ROOT));
	return 1;
}

static inline void mw_put_mount(const mw_table *t, uint32_t slot, mw_mount *mount)
{
	uint64_t ids = mw_mount_word(t, slot, MW_M_ID), groups = mw_mount_word(t, slot, MW_M_GROUPS);
	mount->id = mw_low(ids);
	mount->parent_id = mw_high(ids);
	mount->unique_id = mw_mount_word(t, slot, MW_M_UNIQUE_ID);
	mount->attributes = mw_low(mw_mount_word(t, slot, MW_M_ATTRIBUTES));
	mount->device = mw_high(mw_mount_word(t, slot, MW_M_COVERS));
	mount->peer_group = mw_low(groups);
	mount->master = mw_high(groups);
	mount->bind = mw_high(mw_mount_word(t, slot, MW_M_SUPER));
}

static inline void mw_replenish(mw_table *t)
{
	t->steps = 64 * ((uint64_t)t->mounts.count + t->dentries.count);
}

static inline int mw_is_below(mw_table *t, uint32_t dentry, uint32_t above)
{
	mw_replenish(t);
	for (; dentry != 0 && mw_step(t); dentry = mw_low(mw_dentry_word(t, dentry, MW_D_PARENT)))
		if (dentry == above)
			return 1;
	return 0;
}

/* Puts in the mounts of a path that ends in a directory: those that sit on the mount below it. */
static inline int mw_put_below(mw_table *t, uint32_t slot, mw_mount *mounts, int max, int *count,
			       uint32_t directory)
{
	/* From mount to mount: down, else on, else up and on, until back at the first. */
	uint32_t first = slot;
	uint64_t visits = 0;
	int is_down = 1;
	for (;;) {
		uint64_t list = mw_mount_word(t, slot, MW_M_PARENT);
		uint32_t child = is_down ? mw_high(list) : 0;
		if (visits++ > 2 * (uint64_t)t->mounts.count)
			return MW_ETORN;
		if (child == 0) {
			if (slot == first)
				return 0;
			child = mw_low(mw_mount_word(t, slot, MW_M_SIBLINGS));
			if (child == 0) {
				slot = mw_low(list);
				is_down = 0;
				continue;
			}
		}
		slot = child;
		is_down = 1;
		uint64_t place = mw_mount_word(t, slot, MW_M_PARENT);
		if (mw_low(place) == first && directory != 0 &&
		    !mw_is_below(t, mw_high(mw_mount_word(t, slot, MW_M_ROOT)), directory)) {
			is_down = 0;
			continue;
		}
		if (*count < max)
			mw_put_mount(t, slot, &mounts[*count]);
		++*count;
	}
}

typedef int mw_look(mw_table *t, const char *path, mw_mount *mounts, int max, int binds);

static inline int mw_look_point(mw_table *t, const char *path, mw_mount *mounts, int max, int binds)
{
	mw_end end;
	int found = mw_walk(t, path, &end);
	if (found != 1)
		return found;
	if (max > 0)
		mw_put_mount(t, end.mount, mounts);
	return end.is_mountpoint &&
	       (binds || mw_high(mw_mount_word(t, end.mount, MW_M_SUPER)) == 0);
}

static inline int mw_look_covering(mw_table *t, const char *path, mw_mount *mounts, int max, int binds)
{
	int found = mw_look_point(t, path, mounts, max, binds);
	return found < 0 ? found : mw_low(mw_load(t, (uint64_t)t->views.start + t->view)) != 0;
}

static inline int mw_look_below(mw_table *t, const char *path, mw_mount *mounts, int max, int binds)
{
	mw_end end;
	int count = 0, found = mw_walk(t, path, &end);
	uint32_t bottom;
	(void)binds;
	if (found != 1 || !end.is_whole)
		return found < 0 ? found : 0;
	if (!end.is_mountpoint) {
		found = mw_put_below(t, end.mount, mounts, max, &count, end.dentry);
		return found < 0 ? found : count;
	}
	/* The lowest of those that are stacked here. */
	bottom = end.mount;
	while (bottom != mw_low(mw_load(t, (uint64_t)t->views.start + t->view)) && mw_step(t)) {
		uint32_t parent = mw_low(mw_mount_word(t, bottom, MW_M_PARENT));
		if (parent == 0 || mw_low(mw_mount_word(t, parent, MW_M_ROOT)) !=
					   mw_high(mw_mount_word(t, bottom, MW_M_ROOT)))
			break;
		bottom = parent;
	}
	if (max > 0)
		mw_put_mount(t, bottom, mounts);
	count = 1;
	found = mw_put_below(t, bottom, mounts, max, &count, 0);
	return found < 0 ? found : count;
}

static inline uint64_t mw_now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now); /* no system call */
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static inline int mw_check_path(const char *path)
{
	if (path[0] != '/')
		return MW_EPATH;
	for (const char *dots = path; (dots = strstr(dots, "/..")) != NULL; dots += 3)
		if (dots[3] == '/' || dots[3] == 0)
			return MW_EPATH;
	return 0;
}

/* Asks until the answer is that of one state. */
static inline int mw_ask(mw_table *t, mw_look *look, const char *path, mw_mount *mounts, int max,
			 int binds, mw_answer *answer)
{
	if (mw_check_path(path) < 0)
		return MW_EPATH;
	for (unsigned tries = 1;; tries++) {
		/* State and age first: the answer is no older than they say. */
		if (__atomic_load_n(&t->words[MW_H_STATE], __ATOMIC_ACQUIRE) != 1)
			return MW_EMOVED;
		uint64_t fresh = __atomic_load_n(&t->words[MW_H_FRESH_NS], __ATOMIC_ACQUIRE);
		uint64_t now = mw_now_ns();
		/* The coarse clock is late by a tick, 10 ms at most. */
		uint64_t age = (now > fresh ? now - fresh : 0) + UINT64_C(10000000);
		if (age > t->fresh_max_ns)
			return MW_ENOTKEPT;
		uint64_t begin = __atomic_load_n(&t->words[MW_H_SEQUENCE], __ATOMIC_ACQUIRE);
		if (begin % 2 == 0) {
			mw_replenish(t);
			int found = look(t, path, mounts, max, binds);
			uint64_t revision = mw_load(t, MW_H_REVISION);
			uint32_t coverage = mw_low(mw_load(t, MW_H_COVERAGE));
			__atomic_thread_fence(__ATOMIC_ACQUIRE);
			if (mw_load(t, MW_H_SEQUENCE) == begin) {
				if (found == MW_ETORN || coverage < 1 || coverage > 4)
					return MW_EDAMAGED;
				if (answer)
					*answer = (mw_answer){ revision, (enum mw_coverage)coverage,
							       fresh, age };
				return found;
			}
		}
		if (tries % 256 == 0)
			sched_yield();
	}
}

/* Whether something is mounted exactly at a path: 1, 0 or an error. Without binds (0), bind mounts do
 * not count. */
static inline int mw_is_mount_point(mw_table *t, const char *path, int binds, mw_answer *answer)
{
	return mw_ask(t, mw_look_point, path, NULL, 0, binds, answer);
}

/* The mount on which a path lies: 1, 0 if the view sees nothing, or an error. */
static inline int mw_covering(mw_table *t, const char *path, mw_mount *mount, mw_answer *answer)
{
	return mw_ask(t, mw_look_covering, path, mount, 1, 1, answer);
}

/* The mounts at a path and below it, covered ones too, in no order: how many there are, of which the
 * first `max` are put in; or an error. */
static inline int mw_below(mw_table *t, const char *path, mw_mount *mounts, int max, mw_answer *answer)
{
	return mw_ask(t, mw_look_below, path, mounts, max, 1, answer);
}

#endif
