/* Units of systemd and launchd: see unit.h. pantry starts no other program for this: it writes the file and says what
 * to run. */
#define _GNU_SOURCE      1
#define _DARWIN_C_SOURCE 1
#include "cli/unit.h"

#include "base/alloc.h"
#include "cli/options.h"
#include "cli/say.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

static const char label[] = "pantry.serve"; /* of launchd */

/* The full path of this program; false: unknown. */
static bool find_program(char out[PATH_MAX])
{
#ifdef __APPLE__
    char raw[PATH_MAX];
    uint32_t size = sizeof raw;
    return _NSGetExecutablePath(raw, &size) == 0 && realpath(raw, out);
#else
    ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);
    if (n > 0)
        out[n] = '\0';
    return n > 0;
#endif
}

/* ---- systemd ---- */

/* A word of ExecStart or Environment: systemd knows backslashes, quotes, % and, in commands, $. */
static void put_word(struct pn_buf *out, const char *word, bool command)
{
    pn_buf_putc(out, '"');
    for (const char *c = word; *c; c++) {
        if (*c == '"' || *c == '\\')
            pn_buf_putc(out, '\\');
        if (*c == '%' || (*c == '$' && command))
            pn_buf_putc(out, *c);
        if (*c == '\n')
            pn_buf_puts(out, "\\n");
        else
            pn_buf_putc(out, *c);
    }
    pn_buf_putc(out, '"');
}

static void put_variable(struct pn_buf *out, const char *name)
{
    const char *value = getenv(name);
    struct pn_buf word = {0};
    if (!value || !*value)
        return;
    pn_buf_printf(&word, "%s=%s", name, value);
    pn_buf_puts(out, "Environment=");
    put_word(out, word.data ? word.data : "", false);
    pn_buf_putc(out, '\n');
    pn_buf_free(&word);
}

/* What a service of the whole machine may do: its own folder and the network. Translating patterns to machine code
 * needs writable memory that becomes executable, so that is not refused. */
static const char hardening[] = "DynamicUser=yes\n"
                                "StateDirectory=pantry\n"
                                "Environment=PANTRY_HOME=/var/lib/pantry\n"
                                "UMask=0077\n"
                                "NoNewPrivileges=yes\n"
                                "CapabilityBoundingSet=\n"
                                "AmbientCapabilities=\n"
                                "ProtectSystem=strict\n"
                                "ProtectHome=yes\n"
                                "PrivateTmp=yes\n"
                                "PrivateDevices=yes\n"
                                "ProtectClock=yes\n"
                                "ProtectControlGroups=yes\n"
                                "ProtectHostname=yes\n"
                                "ProtectKernelLogs=yes\n"
                                "ProtectKernelModules=yes\n"
                                "ProtectKernelTunables=yes\n"
                                "ProtectProc=invisible\n"
                                "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\n"
                                "RestrictNamespaces=yes\n"
                                "RestrictRealtime=yes\n"
                                "RestrictSUIDSGID=yes\n"
                                "LockPersonality=yes\n"
                                "SystemCallArchitectures=native\n"
                                "SystemCallFilter=@system-service\n"
                                "SystemCallErrorNumber=EPERM\n";

static void write_systemd(const struct pn_unit *u, const char *program, struct pn_buf *out)
{
    pn_buf_puts(out, "[Unit]\n"
                     "Description=pantry, language models on this machine\n"
                     "Documentation=man:pantry-serve(1)\n");
    if (u->system)
        pn_buf_puts(out, "Wants=network-online.target\nAfter=network-online.target\n");
    pn_buf_puts(out, "\n[Service]\nType=notify\nNotifyAccess=main\nExecStart=");
    put_word(out, program, true);
    pn_buf_puts(out, " serve");
    for (int i = 0; i < u->n; i++) {
        pn_buf_putc(out, ' ');
        put_word(out, u->arguments[i], true);
    }
    pn_buf_puts(out, "\nExecReload=/bin/kill -HUP $MAINPID\nRestart=on-failure\nTimeoutStopSec=20\n");
    if (u->system)
        pn_buf_puts(out, hardening);
    else
        put_variable(out, "PANTRY_HOME");
    put_variable(out, "PANTRY_MODELS");
    put_variable(out, "PANTRY_CONFIG");
    pn_buf_printf(out, "\n[Install]\nWantedBy=%s\n", u->system ? "multi-user.target" : "default.target");
}

/* ---- launchd ---- */

static void put_xml(struct pn_buf *out, const char *before, const char *text, const char *after)
{
    pn_buf_puts(out, before);
    for (const char *c = text; *c; c++) {
        const char *name = *c == '&' ? "&amp;" : *c == '<' ? "&lt;" : *c == '>' ? "&gt;" : NULL;
        if (name)
            pn_buf_puts(out, name);
        else
            pn_buf_putc(out, *c);
    }
    pn_buf_puts(out, after);
}

static void write_launchd(const struct pn_unit *u, const char *program, struct pn_buf *out)
{
    static const char *const variables[] = {"PANTRY_HOME", "PANTRY_MODELS", "PANTRY_CONFIG"};
    const char *user = getenv("HOME");
    pn_buf_puts(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                     "<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" "
                     "\"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n"
                     "<plist version=\"1.0\">\n<dict>\n");
    put_xml(out, "    <key>Label</key>\n    <string>", label, "</string>\n");
    put_xml(out, "    <key>ProgramArguments</key>\n    <array>\n        <string>", program, "</string>\n");
    pn_buf_puts(out, "        <string>serve</string>\n");
    for (int i = 0; i < u->n; i++)
        put_xml(out, "        <string>", u->arguments[i], "</string>\n");
    pn_buf_puts(out, "    </array>\n    <key>RunAtLoad</key>\n    <true/>\n    <key>KeepAlive</key>\n    <dict>\n"
                     "        <key>SuccessfulExit</key>\n        <false/>\n    </dict>\n"
                     "    <key>EnvironmentVariables</key>\n    <dict>\n");
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        if (getenv(variables[i])) {
            put_xml(out, "        <key>", variables[i], "</key>\n");
            put_xml(out, "        <string>", getenv(variables[i]), "</string>\n");
        }
    pn_buf_puts(out, "    </dict>\n");
    if (u->system)
        pn_buf_puts(out, "    <key>StandardErrorPath</key>\n    <string>/var/log/pantry.log</string>\n");
    else if (user)
        put_xml(out, "    <key>StandardErrorPath</key>\n    <string>", user, "/Library/Logs/pantry.log</string>\n");
    pn_buf_puts(out, "</dict>\n</plist>\n");
}

/* ---- either ---- */

bool pn_unit_is_launchd(void)
{
#ifdef __APPLE__
    return true;
#else
    return false;
#endif
}

/* The file; NULL: the user has no home folder, or memory is out. Caller frees. */
static char *unit_path(const struct pn_unit *u)
{
    const char *home = getenv("HOME"), *config = getenv("XDG_CONFIG_HOME");
    struct pn_buf path = {0};
    if (u->system)
        pn_buf_puts(&path, u->launchd ? "/Library/LaunchDaemons/" : "/etc/systemd/system/");
    else if (!home || !*home)
        return NULL;
    else if (u->launchd)
        pn_buf_printf(&path, "%s/Library/LaunchAgents/", home);
    else if (config && *config == '/')
        pn_buf_printf(&path, "%s/systemd/user/", config);
    else
        pn_buf_printf(&path, "%s/.config/systemd/user/", home);
    if (u->launchd)
        pn_buf_printf(&path, "%s.plist", label);
    else
        pn_buf_puts(&path, "pantry.service");
    return pn_buf_take(&path);
}

static void say_next(const struct pn_unit *u, const char *path, bool installed)
{
    const char *sudo = u->system ? "sudo " : "", *whose = u->system ? "" : " --user";
    if (u->launchd && u->system)
        printf("Now run: sudo launchctl %s system %s\n", installed ? "bootstrap" : "bootout", path);
    else if (u->launchd)
        printf("Now run: launchctl %s gui/%u %s\n", installed ? "bootstrap" : "bootout", (unsigned)getuid(), path);
    else if (installed)
        printf("Now run: %ssystemctl%s daemon-reload && %ssystemctl%s enable --now pantry\n", sudo, whose, sudo, whose);
    else
        printf("Now run: %ssystemctl%s daemon-reload\n", sudo, whose);
}

static bool make_parents(const char *path)
{
    char *copy = strdup(path);
    bool ok = copy != NULL;
    for (char *slash = copy ? strchr(copy + 1, '/') : NULL; slash && ok; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ok = mkdir(copy, 0755) == 0 || errno == EEXIST;
        *slash = '/';
    }
    free(copy);
    return ok;
}

/* A whole file or none. */
static int write_unit(const char *path, const struct pn_buf *text)
{
    struct pn_buf new = {0};
    pn_buf_printf(&new, "%s.new", path);
    FILE *f = make_parents(path) && !new.failed ? fopen(new.data, "w") : NULL;
    bool ok = f && fwrite(text->data, 1, text->len, f) == text->len;
    ok = f && fclose(f) == 0 && ok;
    ok = ok && rename(new.data, path) == 0;
    int why = errno;
    if (!ok && f)
        unlink(new.data);
    pn_buf_free(&new);
    if (ok)
        return PN_EXIT_DONE;
    pn_cli_say_error("%s: cannot write: %s", path, strerror(why));
    return PN_EXIT_FAILED;
}

/* A service of the machine runs as another user, who sees no home folders. */
static bool is_private(const char *program)
{
    return strncmp(program, "/home/", 6) == 0 || strncmp(program, "/root/", 6) == 0 ||
           strncmp(program, "/Users/", 7) == 0 || strncmp(program, "/tmp/", 5) == 0;
}

int pn_unit_install(const struct pn_unit *u)
{
    char program[PATH_MAX];
    struct pn_buf text = {0};
    if (!find_program(program)) {
        pn_cli_say_error("cannot find the path of this program: %s", strerror(errno));
        return PN_EXIT_FAILED;
    }
    if (u->system && !u->print && is_private(program)) {
        pn_cli_say_error("%s: a service of the whole machine cannot run a program of that folder; run `make install`, "
                         "and then the installed pantry",
                         program);
        return PN_EXIT_FAILED;
    }
    char *path = unit_path(u);
    if (u->launchd)
        write_launchd(u, program, &text);
    else
        write_systemd(u, program, &text);
    int status = PN_EXIT_DONE;
    if (!path || text.failed) {
        pn_cli_say_error("HOME is not set, or memory is out");
        status = PN_EXIT_FAILED;
    } else if (u->print) {
        fprintf(stderr, "%s:\n", path);
        fputs(text.data, stdout);
    } else if ((status = write_unit(path, &text)) == PN_EXIT_DONE) {
        printf("Wrote %s:\n\n%s\n", path, text.data);
        say_next(u, path, true);
    }
    free(path);
    pn_buf_free(&text);
    return status;
}

int pn_unit_remove(const struct pn_unit *u)
{
    char *path = unit_path(u);
    int status = PN_EXIT_DONE;
    if (!path) {
        pn_cli_say_error("HOME is not set, or memory is out");
        return PN_EXIT_FAILED;
    }
    if (u->print) {
        printf("%s %s\n", access(path, F_OK) == 0 ? "Would remove" : "There is no", path);
    } else if (unlink(path) == 0) {
        printf("Removed %s\n", path);
        say_next(u, path, false);
    } else {
        pn_cli_say_error("%s: cannot remove: %s", path, strerror(errno));
        status = PN_EXIT_FAILED;
    }
    free(path);
    return status;
}
