from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from local.modal_cloud.apps.state import Publication
from local.modal_cloud.errors import FailedPrecondition, NotFound
from local.modal_cloud.naming import CREATED_BY, must_create
from local.modal_cloud.records import App, AppVersion
from local.modal_cloud.rpc import Caller

if TYPE_CHECKING:
    from local.modal_cloud.cloud import Cloud


class AppsWire:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    # -- creation and publication

    async def AppCreate(self, request: api_pb2.AppCreateRequest, caller: Caller) -> api_pb2.AppCreateResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        app = self._cloud.apps.create(environment, request.description, request.app_state, request.tags)
        url = self._cloud.app_url(app)
        return api_pb2.AppCreateResponse(app_id=app.id, app_page_url=url, app_logs_url=url)

    async def AppGetOrCreate(
        self, request: api_pb2.AppGetOrCreateRequest, caller: Caller
    ) -> api_pb2.AppGetOrCreateResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        if request.app_name.startswith("ap-"):
            app = self._cloud.apps.get(request.app_name)
        else:
            found = self._cloud.apps.deployed(environment, request.app_name)
            if must_create(found, request.object_creation_type, "App", request.app_name, environment):
                created = self._cloud.apps.create(environment, request.app_name, api_pb2.APP_STATE_INITIALIZING, {})
                self._cloud.releases.publish(
                    created, api_pb2.APP_STATE_DEPLOYED, request.app_name, Publication({}, {}, {}, "")
                )
            app = self._cloud.apps.require_deployed(environment, request.app_name)
        return api_pb2.AppGetOrCreateResponse(app_id=app.id, handle_metadata=self._handle(app))

    async def AppLookup(self, request: api_pb2.AppLookupRequest, caller: Caller) -> api_pb2.AppLookupResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        return api_pb2.AppLookupResponse(app_id=self._cloud.apps.require_deployed(environment, request.app_name).id)

    async def AppPublish(self, request: api_pb2.AppPublishRequest, caller: Caller) -> api_pb2.AppPublishResponse:
        if request.staged:
            raise FailedPrecondition("staged deployments are not supported by the local cloud")
        app = self._cloud.apps.get(request.app_id)
        app.tags = dict(request.tags) or app.tags
        version = self._cloud.releases.publish(
            app,
            request.app_state,
            request.name,
            Publication(
                function_ids=request.function_ids,
                class_ids=request.class_ids,
                definition_ids=request.definition_ids,
                client_version=request.client_version or caller.client_version,
                tag=request.deployment_tag,
                commit_info=request.commit_info if request.HasField("commit_info") else None,
            ),
        )
        return api_pb2.AppPublishResponse(url=self._cloud.app_url(app), deployed_at=version.deployed_at)

    async def AppRollback(self, request: api_pb2.AppRollbackRequest, caller: Caller) -> api_pb2.AppRollbackResponse:
        app = self._deployed(request.app_id)
        version = self._cloud.releases.roll_back(app, request.version)
        return api_pb2.AppRollbackResponse(url=self._cloud.app_url(app), deployed_at=version.deployed_at)

    async def AppRollover(self, request: api_pb2.AppRolloverRequest, caller: Caller) -> api_pb2.AppRolloverResponse:
        app = self._deployed(request.app_id)
        version = self._cloud.releases.roll_over(app)
        return api_pb2.AppRolloverResponse(url=self._cloud.app_url(app), deployed_at=version.deployed_at)

    async def AppStop(self, request: api_pb2.AppStopRequest, caller: Caller) -> Empty:
        self._cloud.releases.stop(self._cloud.apps.get(request.app_id))
        return Empty()

    async def AppClientDisconnect(self, request: api_pb2.AppClientDisconnectRequest, caller: Caller) -> Empty:
        self._cloud.releases.client_left(self._cloud.apps.get(request.app_id))
        return Empty()

    async def AppHeartbeat(self, request: api_pb2.AppHeartbeatRequest, caller: Caller) -> Empty:
        self._cloud.apps.heartbeat(request.app_id)
        return Empty()

    # -- what there is

    async def AppGetByDeploymentName(
        self, request: api_pb2.AppGetByDeploymentNameRequest, caller: Caller
    ) -> api_pb2.AppGetByDeploymentNameResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        app = self._cloud.apps.deployed(environment, request.name)
        previous = self._cloud.apps.last_stopped(environment, request.name) if app is None else None
        either = app or previous
        return api_pb2.AppGetByDeploymentNameResponse(
            app_id=app.id if app else "",
            previous_app_id=previous.id if previous else "",
            environment_name=environment,
            lifecycle=_lifecycle(either) if either else None,
        )

    async def AppList(self, request: api_pb2.AppListRequest, caller: Caller) -> api_pb2.AppListResponse:
        environment = self._cloud.environment_of(request.environment_name, caller)
        shown = [app for app in self._cloud.apps.all(environment) if app.state != api_pb2.APP_STATE_INITIALIZING]
        return api_pb2.AppListResponse(
            apps=[
                api_pb2.AppListResponse.AppListItem(
                    app_id=app.id,
                    name=app.name,
                    description=app.name or app.description,
                    state=api_pb2.AppState.ValueType(app.state),
                    created_at=app.created_at,
                    stopped_at=app.stopped_at or 0,
                    n_running_tasks=len(self._cloud.tasks.of_app(app.id)),
                    metadata=self._handle(app),
                )
                for app in shown
            ]
        )

    async def AppGetLayout(self, request: api_pb2.AppGetLayoutRequest, caller: Caller) -> api_pb2.AppGetLayoutResponse:
        app = self._cloud.apps.get(request.app_id)
        return api_pb2.AppGetLayoutResponse(app_layout=self._cloud.functions.layout(app))

    async def AppGetObjects(
        self, request: api_pb2.AppGetObjectsRequest, caller: Caller
    ) -> api_pb2.AppGetObjectsResponse:
        layout = self._cloud.functions.layout(self._cloud.apps.get(request.app_id))
        objects = {item.object_id: item for item in layout.objects}
        named = {**layout.function_ids, **layout.class_ids}
        return api_pb2.AppGetObjectsResponse(
            items=[
                api_pb2.AppGetObjectsItem(tag=tag, object=objects[object_id])
                for tag, object_id in named.items()
                if object_id in objects
            ]
        )

    async def AppGetInfo(self, request: api_pb2.AppGetInfoRequest, caller: Caller) -> api_pb2.AppGetInfoResponse:
        app = self._cloud.apps.get(request.app_id)
        summaries = {}
        for name, function_id in app.function_ids.items():
            function = self._cloud.functions.definition_of(function_id).function
            summaries[name] = api_pb2.AppGetInfoResponse.FunctionInfoSummary(
                gpu_config=[function.resources.gpu_config] if function.resources.gpu_config.count else [],
                schedule=function.schedule if function.HasField("schedule") else None,
                web_function=self._cloud.functions.is_web(function),
            )
        return api_pb2.AppGetInfoResponse(info=self._handle(app), function_info_summaries=summaries)

    async def AppGetLifecycle(
        self, request: api_pb2.AppGetLifecycleRequest, caller: Caller
    ) -> api_pb2.AppGetLifecycleResponse:
        return api_pb2.AppGetLifecycleResponse(lifecycle=_lifecycle(self._cloud.apps.get(request.app_id)))

    async def AppGetTags(self, request: api_pb2.AppGetTagsRequest, caller: Caller) -> api_pb2.AppGetTagsResponse:
        return api_pb2.AppGetTagsResponse(tags=self._cloud.apps.get(request.app_id).tags)

    async def AppSetTags(self, request: api_pb2.AppSetTagsRequest, caller: Caller) -> Empty:
        app = self._cloud.apps.get(request.app_id)
        app.tags = dict(request.tags)
        self._cloud.apps.save(app)
        return Empty()

    async def AppDeploymentHistory(
        self, request: api_pb2.AppDeploymentHistoryRequest, caller: Caller
    ) -> api_pb2.AppDeploymentHistoryResponse:
        app = self._cloud.apps.get(request.app_id)
        return api_pb2.AppDeploymentHistoryResponse(
            production_app_version=app.live_version,
            app_deployment_histories=[_history(app, version) for version in reversed(app.versions)],
        )

    def _deployed(self, app_id: str) -> App:
        app = self._cloud.apps.get(app_id)
        if app.state != api_pb2.APP_STATE_DEPLOYED:
            raise NotFound(f"App '{app.name or app_id}' is not deployed")
        return app

    def _handle(self, app: App) -> api_pb2.AppHandleMetadata:
        servers: dict[str, str] = {}
        functions: dict[str, str] = {}
        for name, function_id in app.function_ids.items():
            is_server = self._cloud.functions.definition_of(function_id).function.is_server
            (servers if is_server else functions)[name] = function_id
        return api_pb2.AppHandleMetadata(
            description=app.name or app.description,
            app_id=app.id,
            environment_name=app.environment,
            lifecycle=_lifecycle(app),
            functions=functions,
            servers=servers,
        )


def _lifecycle(app: App) -> api_pb2.AppLifecycle:
    return api_pb2.AppLifecycle(
        app_state=api_pb2.AppState.ValueType(app.state),
        created_at=app.created_at,
        created_by=CREATED_BY,
        deployed_at=app.deployed_at or 0,
        deployed_by=CREATED_BY if app.deployed_at else "",
        version=app.live_version,
        stopped_at=app.stopped_at or 0,
        stopped_by=CREATED_BY if app.stopped_at else "",
    )


def _history(app: App, version: AppVersion) -> api_pb2.AppDeploymentHistory:
    return api_pb2.AppDeploymentHistory(
        app_id=app.id,
        version=version.number,
        client_version=version.client_version,
        deployed_at=version.deployed_at,
        deployed_by=CREATED_BY,
        tag=version.tag,
        rollback_version=version.rollback_of or 0,
        rollback_allowed=version.number != app.live_version,
        commit_info=version.commit_info,
    )
