from __future__ import annotations

from typing import TYPE_CHECKING

from modal_proto import api_pb2

from local.modal_cloud.clock import now
from local.modal_cloud.errors import Invalid, NotFound
from local.modal_cloud.functions.handles import class_object, function_data, function_handle
from local.modal_cloud.functions.variants import variant_definition, variant_id
from local.modal_cloud.ids import new_id
from local.modal_cloud.records import App, Class, Function, FunctionDefinition
from local.modal_cloud.schedules.times import check as check_schedule
from local.modal_cloud.store import Table

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


UNPUBLISHED_KEPT_SECONDS = 3600.0


class Functions:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._table = Table(cloud.store, "functions", Function)
        self._classes = Table(cloud.store, "classes", Class)

    def get(self, function_id: str) -> Function:
        return self._table.get(function_id)

    def find(self, function_id: str) -> Function | None:
        return self._table.find(function_id)

    def definition_of(self, function_id: str) -> FunctionDefinition:
        """The live definition, or of a function that is no longer live its latest. Raises NotFound before the first
        FunctionCreate."""
        function = self.get(function_id)
        definition = function.live or next(reversed(function.definitions.values()), None)
        if definition is None:
            raise NotFound(f"Function '{function.name}' has not been created yet")
        return definition

    def of_app(self, app_id: str) -> list[Function]:
        """Functions of the live version."""
        app = self._cloud.apps.get(app_id)
        return [function for function in map(self.get, app.function_ids.values()) if function.live is not None]

    def named(self, app: App, tag: str) -> Function:
        """By its name in the live version. Raises NotFound."""
        function_id = app.function_ids.get(tag)
        if function_id is None:
            raise NotFound(f"Function '{tag}' not found in App '{app.name}'")
        return self.get(function_id)

    def precreate(self, app_id: str, existing_id: str, handle: api_pb2.FunctionHandleMetadata) -> Function:
        """An id before there is a definition; web URLs are known from now on."""
        app = self._cloud.apps.get(app_id)
        function = self._table.find(existing_id) if existing_id else None
        if function is None:
            function = Function(
                id=new_id("fu"), app_id=app.id, name=handle.function_name, created_at=now(), handle=handle
            )
        function.name = handle.function_name
        function.handle = handle
        return self._table.save(function)

    def create(
        self, app_id: str, existing_id: str, function: api_pb2.Function, data: api_pb2.FunctionData | None
    ) -> tuple[Function, FunctionDefinition]:
        """A new definition, live once published. `data` comes with GPU lists and holds `function` as its choices."""
        if not function.function_name:
            raise Invalid("a function needs a name")
        if function.HasField("schedule"):
            check_schedule(function.schedule)
        handle = function_handle(function, lambda name, method: self._cloud.ingress.url_for(app_id, name, method))
        record = self.precreate(app_id, existing_id, handle)
        if record.live is not None and _routing(record.live.function) != _routing(function):
            raise Invalid(f"the routing region of '{record.name}' cannot be changed; deploy it as another function")
        definition = FunctionDefinition(
            id=new_id("de"), function=function, data=data or function_data(function), created_at=now()
        )
        if handle.web_url:
            definition.function.web_url = definition.data.web_url = handle.web_url
        for name, method in handle.method_handle_metadata.items():
            for target in (definition.function, definition.data):
                if method.web_url:
                    target.method_definitions[name].web_url = method.web_url
        definition.data.flash_service_urls[:] = handle._experimental_flash_urls
        record.definitions[definition.id] = definition
        self._table.save(record)
        return record, definition

    def go_live(self, function_id: str, definition_id: str | None) -> None:
        """New containers run this definition from now on (None: there are no new containers). Autoscaler overrides
        end. Definitions that no version refers to are forgotten, unless a deploy under way may still publish them."""
        function = self.get(function_id)
        function.live_definition_id = definition_id
        function.autoscaler_override = api_pb2.AutoscalerSettings()
        function.overridden_at = None
        app = self._cloud.apps.get(function.app_id)
        kept = {version.definition_ids.get(function_id) for version in app.versions}
        function.definitions = {
            key: definition
            for key, definition in function.definitions.items()
            if key in kept or definition.created_at > now() - UNPUBLISHED_KEPT_SECONDS
        }
        self._table.save(function)
        for variant in self.variants(function_id):
            self._follow(variant)

    # -- variants

    def bind(self, base_id: str, parameters: bytes, options: api_pb2.FunctionOptions) -> Function:
        """The function with these parameters and options; the same each time. Raises NotFound, Invalid."""
        base = self.get(base_id)
        if base.base_id:  # options on top of a variant's: the SDK has merged them
            base = self.get(base.base_id)
        function_id = variant_id(base.id, parameters, options)
        found = self._table.find(function_id)
        if found is not None:
            return found
        return self._follow(
            Function(
                id=function_id,
                app_id=base.app_id,
                name=base.name,
                created_at=now(),
                handle=base.handle,
                base_id=base.id,
                parameters=parameters,
                options=options,
            )
        )

    def variants(self, function_id: str) -> list[Function]:
        return self._table.where(lambda function: function.base_id == function_id)

    def with_variants(self, app_id: str) -> list[Function]:
        """Functions of the live version and their variants."""
        return [either for function in self.of_app(app_id) for either in (function, *self.variants(function.id))]

    def _follow(self, variant: Function) -> Function:
        base = self.get(variant.base_id)
        variant.handle = base.handle
        variant.definitions = {
            key: variant_definition(definition, variant) for key, definition in base.definitions.items()
        }
        variant.live_definition_id = base.live_definition_id
        variant.autoscaler_override = api_pb2.AutoscalerSettings()
        variant.overridden_at = None
        return self._table.save(variant)

    def handle(self, function: Function) -> api_pb2.FunctionHandleMetadata:
        """What clients get: the handle with the ids it is made of."""
        handle = api_pb2.FunctionHandleMetadata()
        handle.CopyFrom(function.handle)
        handle.app_id = function.app_id
        definition = function.live
        if definition is not None:
            handle.definition_id = definition.id
        for method in handle.method_handle_metadata.values():
            method.app_id = function.app_id
        return handle

    def is_web(self, function: api_pb2.Function) -> bool:
        configs = [function.webhook_config, *(method.webhook_config for method in function.method_definitions.values())]
        return any(config.type != api_pb2.WEBHOOK_TYPE_UNSPECIFIED for config in configs)

    def urls(self, app: App) -> list[str]:
        """Of the live version's web endpoints and servers."""
        handles = [self.get(function_id).handle for function_id in app.function_ids.values()]
        urls = [url for handle in handles for url in (handle.web_url, *handle._experimental_flash_urls)]
        urls += [method.web_url for handle in handles for method in handle.method_handle_metadata.values()]
        return [url for url in urls if url]

    def secrets_in_use(self) -> set[str]:
        """Of all definitions that a running app may go (back) to."""
        return {
            secret_id
            for function in self._table.all()
            if self._cloud.apps.get(function.app_id).stopped_at is None
            for definition in function.definitions.values()
            for secret_id in definition.function.secret_ids
        }

    # -- classes

    def create_class(self, app_id: str, existing_id: str) -> Class:
        found = self._classes.find(existing_id) if existing_id else None
        return found or self._classes.save(
            Class(id=new_id("cs"), app_id=app_id, handle=api_pb2.ClassHandleMetadata(), created_at=now())
        )

    def class_named(self, app: App, tag: str) -> Class:
        class_id = app.class_ids.get(tag)
        if class_id is None:
            raise NotFound(f"Class '{tag}' not found in App '{app.name}'")
        return self._classes.get(class_id)

    def layout(self, app: App) -> api_pb2.AppLayout:
        """All objects of the live version."""
        return api_pb2.AppLayout(
            function_ids=app.function_ids,
            class_ids=app.class_ids,
            objects=[
                *(
                    api_pb2.Object(object_id=function_id, function_handle_metadata=self.handle(self.get(function_id)))
                    for function_id in app.function_ids.values()
                ),
                *(class_object(self._classes.get(class_id)) for class_id in app.class_ids.values()),
            ],
        )

    # -- autoscaler

    def settings(self, function_id: str) -> api_pb2.AutoscalerSettings:
        """Effective: the definition's, with overrides merged over it; unset fields mean Modal's defaults."""
        merged = self.static_settings(function_id)
        merged.MergeFrom(self.get(function_id).autoscaler_override)
        return merged

    def static_settings(self, function_id: str) -> api_pb2.AutoscalerSettings:
        settings = api_pb2.AutoscalerSettings()
        function = self.definition_of(function_id).function
        settings.CopyFrom(function.autoscaler_settings)
        if self.get(function_id).base_id or function.class_parameter_info.schema:
            # A class without its parameters can't run, and one with them only when it is asked for.
            settings.ClearField("min_containers")
        return settings

    def override_settings(self, function_id: str, settings: api_pb2.AutoscalerSettings) -> api_pb2.AutoscalerSettings:
        """Merges the fields that are set over former overrides. Returns the effective settings. Raises Invalid for
        min above max, and NotFound for a function that is not live."""
        function = self.get(function_id)
        if function.live is None:
            raise NotFound(f"Function '{function.name}' is not deployed")
        override = api_pb2.AutoscalerSettings()
        override.CopyFrom(function.autoscaler_override)
        override.MergeFrom(settings)
        merged = self.static_settings(function_id)
        merged.MergeFrom(override)
        if merged.max_containers and merged.min_containers > merged.max_containers:
            raise Invalid(
                f"min_containers ({merged.min_containers}) must not exceed max_containers ({merged.max_containers})"
            )
        function.autoscaler_override = override
        function.overridden_at = now()
        self._table.save(function)
        self._cloud.scheduler.settings_changed(function_id)
        return merged


def _routing(function: api_pb2.Function) -> str:
    """Where requests enter; Modal's default where the function says nothing."""
    regions = function.http_config.proxy_regions
    return function.routing_region or (regions[0] if regions else "us-east")
