"""The Pulumi program."""

import gc
import os
import signal

# What is imported and made here stays until the end: looking through it for garbage, time and again and once more at
# the exit, would be a third of this program's time in an `up` that changes nothing.
gc.disable()

# No plugin of pydantic's is wanted, and looking for some reads what every installed package says of itself.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# When an update fails, Pulumi interrupts this program, and Python would print a KeyboardInterrupt traceback over the
# one line that tells what went wrong.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys  # noqa: E402

import pulumi  # noqa: E402

from components.llm_stack import LlmStack  # noqa: E402
from infra import opencode  # noqa: E402
from infra.configuration import describe  # noqa: E402
from infra.settings import SettingsError, load_settings  # noqa: E402

ALREADY_EXPLAINED = 32  # the exit status after which Pulumi's language host adds no error of its own

try:
    config = pulumi.runtime.config.CONFIG.get()
    settings = load_settings(
        config,
        os.environ,
        stack=pulumi.get_stack(),
        project=pulumi.get_project(),
        secret_keys=[key for key in config if pulumi.runtime.is_config_secret(key)],
    )
except SettingsError as error:
    pulumi.log.error(str(error))
    sys.exit(ALREADY_EXPLAINED)
for warning in settings.warnings:
    pulumi.log.warn(warning)

stack = LlmStack(
    settings.recipe.app,
    recipe=settings.recipe,
    environment=settings.environment,
    scaling=settings.scaling,
    schedule=settings.schedule,
    keep_warm=settings.keep_warm,
    budget=settings.budget,
    ingress=settings.ingress,
    hf_token=pulumi.Output.secret(settings.hf_token) if settings.hf_token else None,
    hf_token_is_ambient=settings.hf_token_is_ambient,
    api_key=pulumi.Output.secret(settings.api_key) if settings.api_key else None,
    api_key_rotation=settings.api_key_rotation,
    api_key_grace=settings.api_key_grace,
    capacity=settings.capacity,
    proxy_auth=settings.proxy_auth,
    strategy=settings.deployment_strategy,
    smoke_test=settings.smoke_test == "onDeploy",
    retain_weights=settings.retain_weights,
    protect_weights=settings.protect_weights,
    weights_rehash=settings.weights_rehash,
    configuration=describe(settings),
)

gc.freeze()
gc.enable()

if pulumi.runtime.is_dry_run():
    from infra.review.outlook import outlook

    pulumi.log.info(outlook(settings), resource=stack)

pulumi.export("url", stack.url)
pulumi.export("model", settings.recipe.model.served_name)
pulumi.export("apiKey", stack.api_key)
pulumi.export("commit", stack.commit)
pulumi.export("kernelKey", stack.kernel_key)
pulumi.export("version", stack.version)
pulumi.export(
    "opencode",
    stack.url.apply(
        lambda url: opencode.configuration(pulumi.get_stack(), url, settings.recipe, proxy_auth=settings.proxy_auth)
    ),
)
