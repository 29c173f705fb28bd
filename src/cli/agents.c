/* Coding agents: see agents.h. URLs and names of models have no characters that JSON, TOML or a shell would read as
 * more than text; keys may, so files and arguments name the variable that has the key, or have it as a JSON string. */
#include "cli/agents.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY "PANTRY_API_KEY=@key@"

const struct pn_agent pn_agents[] = {
    {.name = "claude",
     .title = "Claude Code",
     .program = "claude",
     .install = "https://code.claude.com/docs/en/setup",
     .environment = {"ANTHROPIC_BASE_URL=@url@", "ANTHROPIC_AUTH_TOKEN=@key@",
                     "ANTHROPIC_API_KEY=", "ANTHROPIC_MODEL=@model@", "ANTHROPIC_DEFAULT_OPUS_MODEL=@model@",
                     "ANTHROPIC_DEFAULT_SONNET_MODEL=@model@", "ANTHROPIC_DEFAULT_HAIKU_MODEL=@model@",
                     "CLAUDE_CODE_SUBAGENT_MODEL=@model@", "CLAUDE_CODE_AUTO_COMPACT_WINDOW=@context@",
                     "CLAUDE_CODE_MAX_CONTEXT_TOKENS=@context@", "CLAUDE_CODE_MAX_OUTPUT_TOKENS=@output@",
                     "CLAUDE_CODE_ATTRIBUTION_HEADER=0", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1"}},
    {.name = "codex",
     .title = "Codex",
     .program = "codex",
     .install = "npm install -g @openai/codex",
     .environment = {KEY},
     .arguments = {"-c", "model_provider=\"pantry\"", "-c", "model_providers.pantry.name=\"pantry\"", "-c",
                   "model_providers.pantry.base_url=\"@url@/v1\"", "-c",
                   "model_providers.pantry.wire_api=\"responses\"", "-c",
                   "model_providers.pantry.env_key=\"PANTRY_API_KEY\"", "-c", "model_context_window=@context@", "-m",
                   "@model@"}},
    {.name = "opencode",
     .title = "OpenCode",
     .program = "opencode",
     .install = "https://opencode.ai/docs",
     .environment =
         {KEY, "OPENCODE_CONFIG_CONTENT={\"$schema\":\"https://opencode.ai/config.json\",\"model\":\"pantry/@model@\","
               "\"small_model\":\"pantry/@model@\",\"provider\":{\"pantry\":{\"npm\":\"@ai-sdk/openai-compatible\","
               "\"name\":\"pantry\",\"options\":{\"baseURL\":\"@url@/v1\",\"apiKey\":\"{env:PANTRY_API_KEY}\"},"
               "\"models\":{\"@model@\":{\"name\":\"@model@\",\"tool_call\":true,\"limit\":{\"context\":@context@,"
               "\"output\":@output@}}}}}}"}},
    {.name = "aider",
     .title = "aider",
     .program = "aider",
     .install = "https://aider.chat/docs/install.html",
     .environment = {"OPENAI_API_BASE=@url@/v1", "OPENAI_API_KEY=@key@"},
     .arguments = {"--model", "openai/@model@", "--model-metadata-file", "@folder@/models.json"},
     .file = "models.json",
     .content = "{\"openai/@model@\": {\"max_tokens\": @output@, \"max_input_tokens\": @context@, "
                "\"max_output_tokens\": @output@, \"input_cost_per_token\": 0, \"output_cost_per_token\": 0, "
                "\"litellm_provider\": \"openai\", \"mode\": \"chat\"}}\n"},
    {.name = "goose",
     .title = "goose",
     .program = "goose",
     .install = "https://block.github.io/goose/docs/getting-started/installation",
     .environment = {"GOOSE_PROVIDER=openai", "GOOSE_MODEL=@model@", "OPENAI_HOST=@url@", "OPENAI_API_KEY=@key@",
                     "OPENAI_BASE_PATH=v1/chat/completions", "GOOSE_CONTEXT_LIMIT=@context@",
                     "GOOSE_MAX_TOKENS=@output@"},
     .usual = "session"},
    {.name = "crush",
     .title = "Crush",
     .program = "crush",
     .install = "https://github.com/charmbracelet/crush",
     .environment = {KEY, "CRUSH_GLOBAL_CONFIG=@folder@", "CRUSH_GLOBAL_DATA=@folder@"},
     .file = "crush.json",
     .content = "{\"$schema\": \"https://charm.land/crush.json\", \"providers\": {\"pantry\": {\"name\": \"pantry\", "
                "\"type\": \"openai-compat\", \"base_url\": \"@url@/v1\", \"api_key\": \"$PANTRY_API_KEY\", "
                "\"models\": [{\"id\": \"@model@\", \"name\": \"@model@\", \"context_window\": @context@, "
                "\"default_max_tokens\": @output@}]}}, \"models\": {\"large\": {\"provider\": \"pantry\", \"model\": "
                "\"@model@\"}, \"small\": {\"provider\": \"pantry\", \"model\": \"@model@\"}}}\n"},
    {.name = "qwen",
     .title = "Qwen Code",
     .program = "qwen",
     .install = "npm install -g @qwen-code/qwen-code",
     .environment = {"OPENAI_BASE_URL=@url@/v1", "OPENAI_API_KEY=@key@", "OPENAI_MODEL=@model@"},
     .arguments = {"--model", "@model@"}},
    {.name = "copilot",
     .title = "GitHub Copilot CLI",
     .program = "copilot",
     .install = "https://docs.github.com/en/copilot/how-tos/set-up/install-copilot-cli",
     .environment = {"COPILOT_PROVIDER_BASE_URL=@url@/v1", "COPILOT_PROVIDER_API_KEY=@key@",
                     "COPILOT_PROVIDER_WIRE_API=responses", "COPILOT_MODEL=@model@"}},
    {.name = "droid",
     .title = "Factory Droid",
     .program = "droid",
     .install = "https://docs.factory.ai/droid-cli/quickstart",
     .environment = {KEY, "FACTORY_HOME_OVERRIDE=@folder@"},
     .file = ".factory/settings.json",
     .content =
         "{\"customModels\": [{\"model\": \"@model@\", \"displayName\": \"@model@\", \"baseUrl\": \"@url@/v1\", "
         "\"apiKey\": \"${PANTRY_API_KEY}\", \"provider\": \"generic-chat-completion-api\", \"maxOutputTokens\": "
         "@output@, \"id\": \"custom:@model@-0\", \"index\": 0}], \"sessionDefaultSettings\": {\"model\": "
         "\"custom:@model@-0\", \"reasoningEffort\": \"none\"}}\n"},
    {.name = "cline",
     .title = "Cline",
     .program = "cline",
     .install = "npm install -g cline",
     .environment = {"CLINE_PROVIDER_SETTINGS_PATH=@folder@/providers.json"},
     .file = "providers.json",
     .content = "{\"version\": 1, \"lastUsedProvider\": \"openai-compatible\", \"modes\": {}, \"providers\": "
                "{\"openai-compatible\": {\"settings\": {\"provider\": \"openai-compatible\", \"apiKey\": @jsonkey@, "
                "\"model\": \"@model@\", \"baseUrl\": \"@url@/v1\"}, \"updatedAt\": \"2026-01-01T00:00:00.000Z\", "
                "\"tokenSource\": \"manual\"}}}\n"},
    {0},
};

void pn_agent_expand(struct pn_buf *out, const char *text, const struct pn_agent_values *values)
{
    char context[16], output[16];
    json_t *key = json_string(values->key);
    char *quoted = key ? json_dumps(key, JSON_ENCODE_ANY) : NULL;
    json_decref(key);
    out->failed |= !quoted;
    snprintf(context, sizeof context, "%d", values->n_context);
    snprintf(output, sizeof output, "%d", values->n_output);
    const struct {
        const char *name, *value;
    } places[] = {{"@url@", values->url}, {"@model@", values->model},   {"@key@", values->key}, {"@context@", context},
                  {"@output@", output},   {"@folder@", values->folder}, {"@jsonkey@", quoted}};
    while (*text && quoted) {
        size_t i = 0;
        while (i < sizeof places / sizeof *places && strncmp(text, places[i].name, strlen(places[i].name)) != 0)
            i++;
        if (i < sizeof places / sizeof *places) {
            pn_buf_puts(out, places[i].value);
            text += strlen(places[i].name);
        } else {
            pn_buf_putc(out, *text++);
        }
    }
    free(quoted);
}
