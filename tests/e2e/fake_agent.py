"""A stand-in for a coding agent: notes how it was started, asks one question with what it was given, and ends.

It knows what the agent of its name reads. FAKE_NOTES is the file of its notes, FAKE_STATUS its exit status."""

import json
import os
import re
import signal
import sys

QUESTION = "say hello"


def with_openai(base, key, model, responses=False):
    import openai

    client = openai.OpenAI(base_url=base, api_key=key)
    if responses:
        return client.responses.create(model=model, input=QUESTION, max_output_tokens=64).output_text
    messages = [{"role": "user", "content": QUESTION}]
    return client.chat.completions.create(model=model, messages=messages, max_tokens=64).choices[0].message.content


def claude(arguments, env):
    import anthropic

    messages = [{"role": "user", "content": QUESTION}]
    model, limit = env["ANTHROPIC_MODEL"], int(env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"])
    return anthropic.Anthropic().messages.create(model=model, max_tokens=limit, messages=messages).content[0].text


def codex(arguments, env):
    settings = dict(a.split("=", 1) for flag, a in zip(arguments, arguments[1:]) if flag == "-c")
    provider = "model_providers.%s." % json.loads(settings["model_provider"])
    assert json.loads(settings[provider + "wire_api"]) == "responses"
    key = env[json.loads(settings[provider + "env_key"])]
    model = arguments[arguments.index("-m") + 1]
    return with_openai(json.loads(settings[provider + "base_url"]), key, model, responses=True)


def opencode(arguments, env):
    config = json.loads(env["OPENCODE_CONFIG_CONTENT"])
    name, model = config["model"].split("/", 1)
    provider = config["provider"][name]
    assert provider["npm"] == "@ai-sdk/openai-compatible" and model in provider["models"]
    key = re.sub(r"\{env:(\w+)\}", lambda m: env[m.group(1)], provider["options"]["apiKey"])
    return with_openai(provider["options"]["baseURL"], key, model)


def aider(arguments, env):
    model = arguments[arguments.index("--model") + 1]
    with open(arguments[arguments.index("--model-metadata-file") + 1]) as file:
        assert json.load(file)[model]["max_input_tokens"] > 0
    return with_openai(env["OPENAI_API_BASE"], env["OPENAI_API_KEY"], model.removeprefix("openai/"))


def goose(arguments, env):
    assert env["GOOSE_PROVIDER"] == "openai"
    base = env["OPENAI_HOST"] + "/" + env["OPENAI_BASE_PATH"].removesuffix("/chat/completions")
    return with_openai(base, env["OPENAI_API_KEY"], env["GOOSE_MODEL"])


def crush(arguments, env):
    with open(os.path.join(env["CRUSH_GLOBAL_CONFIG"], "crush.json")) as file:
        config = json.load(file)
    large = config["models"]["large"]
    provider = config["providers"][large["provider"]]
    with open(os.path.join(env["CRUSH_GLOBAL_DATA"], "state"), "w") as file:
        file.write("x")
    return with_openai(provider["base_url"], env[provider["api_key"].removeprefix("$")], large["model"])


def qwen(arguments, env):
    assert arguments[arguments.index("--model") + 1] == env["OPENAI_MODEL"]
    return with_openai(env["OPENAI_BASE_URL"], env["OPENAI_API_KEY"], env["OPENAI_MODEL"])


def copilot(arguments, env):
    assert env["COPILOT_PROVIDER_WIRE_API"] == "responses"
    return with_openai(
        env["COPILOT_PROVIDER_BASE_URL"],
        env["COPILOT_PROVIDER_API_KEY"],
        env["COPILOT_MODEL"],
        True,
    )


def droid(arguments, env):
    with open(os.path.join(env["FACTORY_HOME_OVERRIDE"], ".factory", "settings.json")) as file:
        settings = json.load(file)
    chosen = settings["sessionDefaultSettings"]["model"]
    model = next(m for m in settings["customModels"] if m["id"] == chosen)
    assert model["provider"] == "generic-chat-completion-api" and model["maxOutputTokens"] > 0
    key = re.sub(r"\$\{(\w+)\}", lambda m: env[m.group(1)], model["apiKey"])
    return with_openai(model["baseUrl"], key, model["model"])


def cline(arguments, env):
    with open(env["CLINE_PROVIDER_SETTINGS_PATH"]) as file:
        settings = json.load(file)
    assert settings["version"] == 1
    provider = settings["providers"][settings["lastUsedProvider"]]
    assert provider["updatedAt"] and provider["settings"]["provider"] == "openai-compatible"
    provider = provider["settings"]
    return with_openai(provider["baseUrl"], provider["apiKey"], provider["model"])


def main():
    name, arguments = os.path.basename(sys.argv[0]), sys.argv[1:]
    notes = {
        "name": name,
        "arguments": arguments,
        "env": dict(os.environ),
        "terminal": os.isatty(0),
    }
    notes["answer"] = globals()[name](arguments, os.environ)
    with open(os.environ["FAKE_NOTES"], "w") as file:
        json.dump(notes, file)
    if "FAKE_SIGNAL" in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(int(os.environ.get("FAKE_STATUS", "0")))


main()
