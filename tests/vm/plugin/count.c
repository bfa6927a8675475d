/* Counts the instructions that a guest executes, those of its kernel and of user space apart: a
 * plugin for QEMU's TCG.
 *
 * In: fifo=PATH, whose lines are commands, and out=PATH. A line "slow=N" makes each instruction take
 * about N cycles of the host more; under -icount the guest does not notice, and its client is
 * faster. Any other line is a label: a line "LABEL KERNEL USER" is appended to the file `out`. With
 * profile=1, the times that each translated block was executed also go to the file `out`.LABEL, as
 * lines "ADDRESS INSTRUCTIONS TIMES".
 *
 * The few declarations of qemu-plugin.h are here, so that a C compiler alone is needed. */
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_scoreboard;
typedef struct {
	struct qemu_plugin_scoreboard *score;
	size_t offset;
} qemu_plugin_u64;
typedef uint64_t qemu_plugin_id_t;

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 4;

#define INLINE_ADD_U64 0
#define CALLBACK_NO_REGISTERS 0
struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t element_size);
uint64_t qemu_plugin_u64_sum(qemu_plugin_u64 entry);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
					   void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*callback)(unsigned int, void *),
					  int flags, void *data);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *tb, int operation,
						       qemu_plugin_u64 entry, uint64_t value);

struct counts {
	uint64_t kernel, user;
};

struct block {
	uint64_t address, length, times;
	struct block *next;
};

static qemu_plugin_u64 kernel, user;
static const char *fifo, *out;
static int profile;
static volatile int slow;
static struct block *blocks;

static void executed(unsigned int cpu, void *data)
{
	struct block *block = data;

	(void)cpu;
	block->times++;
	for (uint64_t n = block->length * slow; n; n--)
		__asm__ volatile("");
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	uint64_t address = qemu_plugin_tb_vaddr(tb), length = qemu_plugin_tb_n_insns(tb);
	/* On x86-64 the upper half of the addresses is the kernel's. */
	qemu_plugin_u64 count = address >> 63 ? kernel : user;
	struct block *block = calloc(1, sizeof *block);

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(tb, INLINE_ADD_U64, count, length);
	block->address = address;
	block->length = length;
	do
		block->next = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE);
	while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, CALLBACK_NO_REGISTERS, block);
}

static void write_counts(const char *label)
{
	FILE *to = fopen(out, "a");
	char path[256];

	fprintf(to, "%s %lu %lu\n", label, qemu_plugin_u64_sum(kernel), qemu_plugin_u64_sum(user));
	fclose(to);
	if (!profile)
		return;
	snprintf(path, sizeof path, "%s.%s", out, label);
	to = fopen(path, "w");
	for (struct block *b = __atomic_load_n(&blocks, __ATOMIC_ACQUIRE); b; b = b->next)
		if (b->times)
			fprintf(to, "%lx %lu %lu\n", b->address, b->length, b->times);
	fclose(to);
}

static void *take_commands(void *unused)
{
	char line[64];
	int pace;

	for (;;) {
		FILE *in = fopen(fifo, "r");

		if (!in)
			return unused;
		while (fscanf(in, "%63s", line) == 1) {
			if (sscanf(line, "slow=%d", &pace) == 1)
				slow = pace;
			else
				write_counts(line);
		}
		fclose(in);
	}
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	struct qemu_plugin_scoreboard *board = qemu_plugin_scoreboard_new(sizeof(struct counts));
	pthread_t thread;

	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "fifo=", 5))
			fifo = strdup(argv[i] + 5);
		if (!strncmp(argv[i], "out=", 4))
			out = strdup(argv[i] + 4);
		if (!strcmp(argv[i], "profile=on") || !strcmp(argv[i], "profile=1"))
			profile = 1;
	}
	if (!fifo || !out)
		return -1;
	kernel = (qemu_plugin_u64){ board, offsetof(struct counts, kernel) };
	user = (qemu_plugin_u64){ board, offsetof(struct counts, user) };
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return pthread_create(&thread, NULL, take_commands, NULL);
}
