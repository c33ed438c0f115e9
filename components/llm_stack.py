"""LlmStack: everything one served model needs on Modal, as one component."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pulumi

from components import estimates
from components.api_key import ApiKey
from components.autoscaling import fixed_settings, live_settings, schedule_text
from components.kernels import CompiledKernels
from components.pipeline_app import PipelineApp
from components.release_record import ReleaseRecord, facts_of
from components.scaling_schedule import ScalingSchedule
from components.secret import ModalSecret
from components.serving_app import ServingApp
from components.smoke_test import SmokeTest
from components.source_digest import source_digest
from components.spend_check import SpendCheck
from components.verification import Verification
from components.volume import ModalVolume
from components.weights import ModelWeights
from serving.budget import Budget
from serving.params import Capacity, PipelineParams, Scaling, ServerParams
from serving.recipe import Recipe, kernel_key
from serving.schedule import KeepWarm, Schedule

SENTINEL = "model.safetensors.index.json"


class LlmStack(pulumi.ComponentResource):
    """Volumes, secrets, weights, kernels, their verification, the serving app and its smoke test.

    Outputs: `url`, `api_key` (secret), `commit`, `kernel_key`, `version`.
    """

    def __init__(
        self,
        name: str,
        *,
        recipe: Recipe,
        environment: str,
        scaling: Scaling,
        schedule: Schedule | None = None,
        keep_warm: KeepWarm | None = None,
        budget: Budget | None = None,
        ingress: Literal["web", "server"] = "web",
        hf_token: pulumi.Input[str] | None = None,
        hf_token_is_ambient: bool = False,
        api_key: pulumi.Input[str] | None = None,
        api_key_rotation: int = 0,
        api_key_grace: int = 86400,
        capacity: Capacity | None = None,
        proxy_auth: bool = False,
        strategy: Literal["rolling", "recreate"] = "rolling",
        smoke_test: bool = True,
        retain_weights: bool = True,
        protect_weights: bool = False,
        weights_rehash: int = 0,
        configuration: Mapping[str, Any] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        """`hf_token` may be left out where the secret exists on Modal, and overwrites none that exists when it is only
        ambient (HF_TOKEN of whoever types); `api_key` is generated when left out, and the one before a rotation is
        accepted for `api_key_grace` seconds more. `configuration` is kept for the next preview: no secrets in it.
        """
        super().__init__("glm-serving:index:LlmStack", name, None, opts)
        self.recipe, self.environment = recipe, environment
        capacity = capacity or Capacity()
        self.jobs_dict = f"{recipe.app}-jobs"
        owner = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
        protected = pulumi.ResourceOptions(protect=protect_weights)

        volumes, secrets = recipe.volumes, recipe.secrets
        weights_volume = ModalVolume(
            "weights-volume",
            environment=environment,
            name=volumes.weights.name,
            version=volumes.weights.version,
            retain=retain_weights,
            stack=owner,
            opts=self._child(protected),
        )
        kernels_volume = ModalVolume(
            "kernels-volume",
            environment=environment,
            name=volumes.kernels.name,
            version=volumes.kernels.version,
            stack=owner,
            opts=self._child(),
        )
        hf_secret = ModalSecret(
            "hf-secret",
            environment=environment,
            name=secrets.hugging_face.name,
            keys=[secrets.hugging_face.key],
            values=None if hf_token is None else {secrets.hugging_face.key: hf_token},
            set_with="pulumi config set --secret hfToken hf_…",
            stack=owner,
            shared=True,
            ambient=hf_token_is_ambient,
            opts=self._child(),
        )
        key = ApiKey("api-key", given=api_key, rotation=api_key_rotation, opts=self._child()).value
        api_secret = ModalSecret(
            "api-secret",
            environment=environment,
            name=secrets.api_key.name,
            keys=[secrets.api_key.key],
            values={secrets.api_key.key: key},
            set_with="pulumi config set --secret apiKey …",
            stack=owner,
            grace=api_key_grace,
            opts=self._child(),
        )

        # A deployed version holds on to the objects it was deployed with: made anew, they need a new version.
        mounts = {"weightsVolume": weights_volume.volumeId, "kernelsVolume": kernels_volume.volumeId}
        pipeline_params = PipelineParams(
            app=f"{recipe.app}-pipeline",
            stack=owner,
            jobs_dict=self.jobs_dict,
            recipe=recipe,
            nonpreemptible_download=capacity.nonpreemptible_download,
        )
        pipeline = PipelineApp(
            "pipeline",
            environment=environment,
            name=pipeline_params.app,
            params=pipeline_params.to_text(),
            source=source_digest("serving.apps.pipeline"),
            attachments={**mounts, "hfSecret": hf_secret.generation},
            opts=self._child(),
        )
        weights = ModelWeights(
            "weights",
            environment=environment,
            pipeline_app=pipeline.name,
            jobs_dict=self.jobs_dict,
            volume=weights_volume.name,
            repo=recipe.model.repo,
            revision=recipe.model.revision,
            layout=recipe.download.layout,
            sentinel=SENTINEL,
            estimate=estimates.download(recipe, capacity),
            rehash=weights_rehash,
            retain=retain_weights,
            opts=self._child(protected),
        )
        # A pinned revision is the commit, so that a preview can tell everything that follows from it.
        self.commit = pulumi.Output.from_input(recipe.model.revision if recipe.model.pinned else weights.commit)
        self.kernel_key = self.commit.apply(lambda commit: kernel_key(recipe, commit))
        kernels_manifest: pulumi.Input[str] = ""
        if recipe.kernels:
            kernels_manifest = CompiledKernels(
                "kernels",
                environment=environment,
                pipeline_app=pipeline.name,
                jobs_dict=self.jobs_dict,
                volume=kernels_volume.name,
                key=self.kernel_key,
                marker=recipe.kernels.marker,
                commit=self.commit,
                timeout=recipe.kernels.timeout,
                estimate=estimates.compilation(recipe),
                opts=self._child(depends_on=[weights]),
            ).manifestSha256
        verification = Verification(
            "verification",
            environment=environment,
            pipeline_app=pipeline.name,
            jobs_dict=self.jobs_dict,
            app=recipe.app,
            commit=self.commit,
            kernel_key=self.kernel_key,
            weights_manifest=weights.manifestSha256,
            kernels_manifest=kernels_manifest,
            opts=self._child(),
        )

        autoscaler = live_settings(scaling, ingress)
        app = ServingApp(
            "app",
            environment=environment,
            name=recipe.app,
            ingress=ingress,
            params=pulumi.Output.all(self.commit, self.kernel_key).apply(
                lambda known: ServerParams(
                    app=recipe.app,
                    stack=owner,
                    release="",  # named by each deploy
                    jobs_dict=self.jobs_dict,
                    recipe=recipe.as_served(),
                    commit=known[0],
                    kernel_key=known[1],
                    ingress=ingress,
                    scaling=fixed_settings(scaling, ingress),
                    gpu_fallbacks=capacity.gpu_fallbacks,
                    regions=capacity.regions,
                    routing_region=capacity.routing_region,
                    proxy_auth=proxy_auth,
                ).to_text()
            ),
            source=source_digest("serving.apps.server"),
            attachments={**mounts, "apiSecret": api_secret.generation},
            autoscaler=autoscaler,
            schedule=schedule_text(schedule),
            artifacts={"weights": weights.manifestSha256, "kernels": kernels_manifest},
            strategy=strategy,
            opts=self._child(depends_on=[verification]),
        )
        self.url, self.version = app.url, app.version
        over: pulumi.Output[float] | pulumi.Output[int] = app.version
        facts = pulumi.Output.all(self.commit, self.kernel_key).apply(
            lambda known: facts_of(recipe, known[0], known[1], autoscaler, ingress, strategy, owner)
        )
        tested: SmokeTest | None = None
        if smoke_test:
            tested = SmokeTest(
                "smoke-test",
                environment=environment,
                app=app.name,
                ingress=ingress,
                url=app.url,
                app_id=app.appId,
                version=app.version,
                adopted_version=app.adoptedVersion,
                release=app.release,
                jobs_dict=self.jobs_dict,
                api_key=key,
                served_name=recipe.model.served_name,
                ask_as=app.release.apply(lambda release: recipe.engine_module.name_of_release(recipe, release)),
                requests_metric=recipe.engine_module.REQUESTS_METRIC,
                autoscaler=autoscaler,
                schedule=schedule_text(schedule),
                limit_seconds=recipe.deadlines.scheduling + recipe.deadlines.startup,
                estimate=estimates.one_replica(recipe, scaling, capacity),
                questions=[question.to_json() for question in recipe.smoke_test],
                quality=recipe.quality.to_json() if recipe.quality else None,
                volume=weights_volume.name,
                facts=facts,
                opts=self._child(),
            )
            over = tested.seconds
        ReleaseRecord(
            "release-record",
            environment=environment,
            app=app.name,
            volume=weights_volume.name,
            app_id=app.appId,
            version=app.version,
            release=app.release,
            facts=facts,
            seconds=tested.seconds if tested else None,
            quality=tested.measured if tested else None,
            opts=self._child(),
        )
        if schedule or keep_warm:
            # After the smoke test: what sets warm replicas does so for a version that answers.
            ScalingSchedule(
                "schedule",
                environment=environment,
                serving_app=recipe.app,
                stack=owner,
                ingress=ingress,
                schedule=schedule,
                keep_warm=keep_warm,
                url=app.url,
                autoscaler=autoscaler,
                opts=self._child(depends_on=[tested or app]),
            )
        if budget:
            SpendCheck(
                "spend-check",
                environment=environment,
                serving_app=recipe.app,
                stack=owner,
                ingress=ingress,
                budget=budget,
                scaling=scaling,
                schedule=schedule,
                autoscaler=autoscaler,
                opts=self._child(depends_on=[tested or app]),
            )
        # Told once every replica takes it: an `up` that fails leaves clients the key before.
        self.api_key = pulumi.Output.secret(pulumi.Output.all(key, over).apply(lambda both: both[0]))
        if pulumi.runtime.is_dry_run():
            pulumi.log.info(estimates.plan(recipe, scaling, ingress, capacity), resource=self)
        # The next preview compares with it, and policies judge it (infra/configuration.py).
        self.register_outputs({"url": self.url, "version": self.version, "configuration": configuration})

    def _child(
        self, more: pulumi.ResourceOptions | None = None, depends_on: list[pulumi.Resource] | None = None
    ) -> pulumi.ResourceOptions:
        options = pulumi.ResourceOptions(parent=self, depends_on=depends_on)
        return pulumi.ResourceOptions.merge(options, more)
