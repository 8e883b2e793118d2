/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Guest memory that is mapped from the image of the snapshot that was loaded, privately: a page is
 * read when it is first touched, and copied when it is first written. Private to vm/.
 *
 * A page is 'mapped' from then on until it is made anonymous, written or not: the file's truncation
 * takes written pages, too, and giving one back to the host would bring the file's content back. So
 * what discards memory maps anonymous pages, and so does the end of a load (ram_image_complete()).
 */
#ifndef VM_RAM_MAPPED_H
#define VM_RAM_MAPPED_H

#include "base/coroutine.h"
#include "block/snapshot.h"
#include "memory_internal.h"

/* Whether pages of the block may be mapped from a file at all. */
bool ram_may_be_mapped(Vm *vm, const RamBlock *b);
/*
 * Maps whole pages; false: they are anonymous and zeroes, as the kernel has no room for more
 * mappings. The machine stands still. Main thread.
 */
bool ram_map_file(RamBlock *b, uint64_t offset, uint64_t len, int fd, uint64_t file_offset);
/* How many ranges may be mapped in all. Any thread. */
unsigned ram_mappings_max(void);
/*
 * Before most of a block is mapped: its pages, whatever they hold, are set aside, for it takes a
 * while to free them. All of the block is zeroes then. Where the kernel cannot do that the pages
 * stay. Main thread; nothing of the block is mapped.
 */
void ram_set_aside(RamBlock *b);
/* Begins to free what was set aside, while the guest runs again. */
void ram_free_set_aside(void);
/* Makes them anonymous, which are zeroes then. False: the kernel has no room. Any thread. */
bool ram_make_anonymous(RamBlock *b, uint64_t offset, uint64_t len);
/*
 * Makes them anonymous with the content that they have. The machine stands still; no thread but
 * this one writes to them. False: the kernel has no room, and they are as before.
 */
bool ram_make_private(RamBlock *b, uint64_t offset, uint64_t len);
/* Whether the page is mapped from a file. Any thread. */
bool ram_page_is_mapped(const RamBlock *b, uint64_t offset);
/* The same of any page of these pieces of this process's memory. Any thread. */
bool ram_any_is_mapped(const struct iovec *iov, unsigned niov);
/* The first mapped range that begins at or behind *start; at most 'max' bytes. False: none. */
bool ram_next_mapped(const RamBlock *b, uint64_t *start, uint64_t *len, uint64_t max);
uint64_t ram_mapped_bytes(const RamBlock *b);
/* Whether anything is mapped, of any block. Any thread. */
bool ram_any_mapped(void);
/* ram_discard() of a block that is private and anonymous, or mapped. */
void ram_discard_in(RamBlock *b, uint64_t offset, uint64_t len);
/*
 * A page that could not be read becomes one of zeroes, and its content is lost. False: the address
 * is not of memory that was mapped. Async-signal-safe, any thread.
 */
bool ram_replace_page(void *addr);
/* Whether content was lost since the last ram_lost_clear(). Any thread. */
bool ram_is_lost(void);
void ram_lost_clear(void);
/* What every part of guest memory is advised of. */
void ram_advise(void *host, uint64_t len, bool merge, bool dump);
/* After the block's memory is unmapped. */
void ram_mapped_free(RamBlock *b);

/*
 * ram_image.c: the image that memory is mapped from, of which there is one. Main thread, the
 * machine held, where nothing else is said.
 */
/*
 * Begins to use the image: a descriptor of its file, which is the caller's, to map from. -1, and an
 * error that says why nothing can be mapped. All of memory is private then, and zeroes where it was
 * mapped from another.
 */
int coroutine_fn ram_image_begin(Vm *vm, BlockNode *n, const char *snapshot_id, const char *disk,
                                 GError **err);
/* All of memory becomes private, and zeroes where it was mapped. Before it is loaded anew. */
bool coroutine_fn ram_image_forget(Vm *vm, GError **err);
/* Ends the use of the image where nothing is mapped. */
void coroutine_fn ram_image_settle(Vm *vm);
/* Ends it whatever is mapped: the guest does not run any more. */
void ram_image_free(Vm *vm);
/*
 * Makes private what is mapped. False, and an error: a page cannot be read, and what is not private
 * yet is as it was. The machine need not be held; it stands still for moments then.
 */
bool coroutine_fn ram_image_complete(Vm *vm, GError **err);
/* The same in a machine that the caller holds. */
bool coroutine_fn ram_image_complete_held(Vm *vm, GError **err);
/* Whether all that was in memory is there. Else an error. */
bool ram_not_lost(GError **err);
/* For messages: the disk and the snapshot; the disk; the image's node. Borrowed. */
const char *ram_image_name(Vm *vm);
const char *ram_image_disk(Vm *vm);
const char *ram_image_node(Vm *vm);
/* Whether memory is mapped from the snapshot of this name. */
bool ram_image_is_of(Vm *vm, const char *snapshot_name);

/* ram_fault.c: pages that cannot be read. Main thread, where nothing else is said. */
/* Before the first page is mapped; and when memory is freed. */
bool ram_fault_watch(Vm *vm, GError **err);
void ram_fault_unwatch(Vm *vm);
/* All of memory is loaded anew. */
void ram_fault_forget(void);
/* The machine runs again. */
void ram_fault_retry(void);
/* A reset, which needs nothing of what was in memory: what cannot be read is let go of. */
void coroutine_fn ram_fault_reset(Vm *vm);
/*
 * On a CPU's thread, where KVM could not reach memory: true, and the machine is going to pause, if
 * a page of an image may be the reason: something is mapped, or was lost.
 */
bool ram_fault_of_cpu(Vm *vm);

#endif
