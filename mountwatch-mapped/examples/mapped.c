/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Asks a mountwatch agent's mapped table, in C:
 *
 *     cc -std=c11 -Wall -Wextra -Werror -Iinclude -o mapped examples/mapped.c
 *     ./mapped /run/mountwatch/mapped.sock point /mnt      yes or no, and what that rests on
 *     ./mapped /run/mountwatch/mapped.sock real /mnt       the same, bind mounts do not count
 *     ./mapped /run/mountwatch/mapped.sock covering /mnt   the mount on which the path lies
 *     ./mapped /run/mountwatch/mapped.sock below /mnt      the IDs of what is mounted there and below
 */
#define _GNU_SOURCE
#include "mountwatch_mapped.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Sends our mount namespace and gets its table: a descriptor, and the number of our view. */
static int get_table(const char *path, uint32_t *view)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	strncpy(address.sun_path, path, sizeof address.sun_path - 1);
	int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (agent < 0 || connect(agent, (struct sockaddr *)&address, sizeof address))
		fail("connect");
	int own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	if (own < 0)
		fail("/proc/self/ns/mnt");

	uint32_t request[4] = { 0, 1, 0, 0 }, reply[8];
	memcpy(request, "mwm1", 4);
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec out = { request, sizeof request }, in = { reply, sizeof reply };
	struct msghdr message = { .msg_iov = &out, .msg_iovlen = 1, .msg_control = control.bytes,
				  .msg_controllen = sizeof control.bytes };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &own, sizeof own);
	if (sendmsg(agent, &message, MSG_NOSIGNAL) != sizeof request)
		fail("sendmsg");
	close(own);

	message.msg_iov = &in;
	message.msg_controllen = sizeof control.bytes;
	if (recvmsg(agent, &message, MSG_WAITALL | MSG_CMSG_CLOEXEC) != sizeof reply)
		fail("recvmsg");
	header = CMSG_FIRSTHDR(&message);
	if (memcmp(reply, "mwm1", 4) || reply[1] != 0 || header == NULL) {
		fprintf(stderr, "the agent refuses: status %u\n", reply[1]);
		exit(1);
	}
	int table;
	memcpy(&table, CMSG_DATA(header), sizeof table);
	*view = reply[2];
	return table; /* the socket stays open: as long as it is, the table is kept */
}

static int by_id(const void *a, const void *b)
{
	const mw_mount *first = a, *second = b;
	return (first->id > second->id) - (first->id < second->id);
}

int main(int count, char **words)
{
	static mw_mount mounts[65536];
	mw_answer answer = { 0 };
	mw_table table;
	uint32_t view;
	if (count != 4) {
		fprintf(stderr, "usage: %s SOCKET point|real|covering|below PATH\n", words[0]);
		return 2;
	}
	int descriptor = get_table(words[1], &view);
	int found = mw_open(&table, descriptor, view);
	close(descriptor);
	if (found == 0 && strcmp(words[2], "below") == 0)
		found = mw_below(&table, words[3], mounts, 65536, &answer);
	else if (found == 0 && strcmp(words[2], "covering") == 0)
		found = mw_covering(&table, words[3], mounts, &answer);
	else if (found == 0)
		found = mw_is_mount_point(&table, words[3], strcmp(words[2], "real") != 0, &answer);
	if (found < 0) {
		fprintf(stderr, "the table gives error %d\n", found);
		return 1;
	}
	printf("%d revision %llu coverage %d\n", found, (unsigned long long)answer.revision,
	       (int)answer.coverage);
	if (words[2][0] == 'b' || words[2][0] == 'c') {
		int shown = found < 65536 ? found : 65536;
		qsort(mounts, (size_t)shown, sizeof *mounts, by_id);
		for (int i = 0; i < shown; i++)
			printf("%u\n", mounts[i].id);
	}
	mw_close(&table);
	return 0;
}
