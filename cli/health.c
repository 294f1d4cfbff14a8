/* cli/health.c - one GET /health. See health.h. */
#include "cli/health.h"

#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "fetch/transfer.h"

enum { SECONDS = 5 };

/* A server that listens everywhere is asked at this machine's own address. */
static void health_url(const struct config *c, char out[320])
{
    const char *host = c->host;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    bool bare = strchr(host, ':') && *host != '[', tls = *c->tls_cert && !*c->uds;
    snprintf(out, 320, bare ? "%s://[%.250s]:%d/health" : "%s://%.250s:%d/health", tls ? "https" : "http", host,
             c->port);
}

/* Asks the server that the same options would start, without a proxy, and prints its status or why there is none. 0
 * only for status 200, so that a container's health check can use it. */
int command_health(int argc, char **argv)
{
    struct config   c;
    struct transfer t, *all[] = { &t };
    char url[320];
    int  rc = command_options(&c, OPT_HEALTH, "health [OPTION...]", argc, argv);
    if (rc >= 0)
        return rc;
    health_url(&c, url);
    transfer_init(&t, url);
    t.seconds = SECONDS;
    t.proxy = "";
    t.own_host = true;
    t.unix_path = *c.uds ? c.uds : NULL;
    rc = transfers_run(all, 1, 1, NULL, NULL) == 0 && t.end == TRANSFER_ANSWERED && t.status == 200 ? 0 : 1;
    if (t.end == TRANSFER_ANSWERED)
        printf("%s: %d\n", *c.uds ? c.uds : url, t.status);
    else
        printf("%s: %s\n", *c.uds ? c.uds : url, t.why);
    transfer_free(&t);
    options_free(&c);
    return rc;
}
