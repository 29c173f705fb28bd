/* The commands of the chat: /help, /set, /show ... */
#ifndef PN_CLI_SLASH_H
#define PN_CLI_SLASH_H

#include "cli/chat.h"
#include "cli/editor.h"

/* True if the line is a command, not a message: a slash and letters, as in "/set" and unlike "/usr/bin". */
bool pn_slash_is(const char *line);
/* Runs the command. False when the user leaves. */
bool pn_slash_do(struct pn_chat *chat, struct pn_editor *editor, const char *line);

#endif
