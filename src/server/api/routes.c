/* Every route of the service. A path that ends in "/" hands what follows to its handler. */
#include "server/api/anthropic.h"
#include "server/api/control.h"
#include "server/api/decisions.h"
#include "server/api/fill.h"
#include "server/api/lora.h"
#include "server/api/ollama.h"
#include "server/api/openai.h"
#include "server/api/status.h"
#include "server/api/text.h"

const struct pn_route pn_routes[] = {
    /* its own */
    {"GET", "/", pn_status_root, PN_ERRORS_OLLAMA, PN_SCOPE_OPEN},
    {"GET", "/health", pn_status_health, PN_ERRORS_OLLAMA, PN_SCOPE_OPEN},
    {"GET", "/v1/health", pn_status_health, PN_ERRORS_OLLAMA, PN_SCOPE_OPEN},
    {"GET", "/openapi.json", pn_status_openapi, PN_ERRORS_OLLAMA, PN_SCOPE_OPEN},
    {"GET", "/metrics", pn_status_metrics, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    /* Ollama */
    {"POST", "/api/generate", pn_ollama_generate, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/api/chat", pn_ollama_chat, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/api/embed", pn_ollama_embed, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/api/embeddings", pn_ollama_embeddings, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/api/show", pn_ollama_show, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/api/pull", pn_ollama_pull, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"POST", "/api/push", pn_ollama_push, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"POST", "/api/create", pn_ollama_create, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"HEAD", "/api/blobs/", pn_ollama_has_blob, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"POST", "/api/blobs/", pn_ollama_put_blob, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"DELETE", "/api/delete", pn_ollama_delete, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"POST", "/api/copy", pn_ollama_copy, PN_ERRORS_OLLAMA, PN_SCOPE_MANAGE},
    {"GET", "/api/tags", pn_ollama_tags, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"GET", "/api/ps", pn_ollama_ps, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"GET", "/api/version", pn_ollama_version, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    /* OpenAI */
    {"POST", "/v1/chat/completions", pn_openai_chat, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/completions", pn_openai_completions, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/embeddings", pn_openai_embeddings, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/responses", pn_openai_responses, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/responses/input_tokens", pn_openai_count_input, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"GET", "/v1/responses/", pn_openai_get_response, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"DELETE", "/v1/responses/", pn_openai_delete_response, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"GET", "/v1/models", pn_openai_models, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"GET", "/v1/models/", pn_openai_model, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    /* Anthropic */
    {"POST", "/v1/messages", pn_anthropic_messages, PN_ERRORS_ANTHROPIC, PN_SCOPE_INFER},
    {"POST", "/v1/messages/count_tokens", pn_anthropic_count, PN_ERRORS_ANTHROPIC, PN_SCOPE_INFER},
    /* llama.cpp, Jina, Cohere */
    {"POST", "/tokenize", pn_text_tokenize, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/detokenize", pn_text_detokenize, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/apply-template", pn_text_apply_template, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/infill", pn_fill_infill, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/chat/completions/control", pn_control, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"GET", "/lora-adapters", pn_lora_list, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/lora-adapters", pn_lora_set, PN_ERRORS_OPENAI, PN_SCOPE_MANAGE},
    {"POST", "/rerank", pn_text_rerank, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {"POST", "/v1/rerank", pn_text_rerank, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    /* decisions */
    {"POST", "/v1/systemone", pn_decide_systemone, PN_ERRORS_OLLAMA, PN_SCOPE_INFER},
    {"POST", "/v1/decisions", pn_decide_openai, PN_ERRORS_OPENAI, PN_SCOPE_INFER},
    {0},
};

pn_route_fn *const pn_streaming_handlers[] = {pn_ollama_put_blob, NULL};
pn_route_fn *const pn_list_handlers[] = {pn_lora_set, NULL};
