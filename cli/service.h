/* cli/service.h - what a service manager and this process tell each other, by the protocols of systemd: sockets that
 * are passed on at the start (sd_listen_fds(3)), and datagrams that say what the process does (sd_notify(3)). Both are
 * a few bytes in well-known places, and need no library. Without a manager nothing happens. */
#ifndef CLI_SERVICE_H
#define CLI_SERVICE_H

/* Fills `out` with the sockets that were passed on to this process, at most `most`; returns how many there are. What
 * the environment said of them is taken out of it, so that no other process takes it for its own. */
int  service_sockets(int *out, int most);

/* Lines such as "READY=1\nSTATUS=...". What cannot be sent is lost: nothing here depends on it. */
void service_tell(const char *lines);

/* "RELOADING=1", with the time that newer managers want beside it. */
void service_tell_reloading(void);

#endif
