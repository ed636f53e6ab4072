"""Independent clients, unchanged: Airbyte's own SDK, and dagster-airbyte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from .conftest import Client

airbyte_api = pytest.importorskip("airbyte_api")
dagster_airbyte = pytest.importorskip("dagster_airbyte")

from airbyte_api import api, models  # noqa: E402

STREAM = {
    "name": "sales",
    "namespace": "public",
    "syncMode": "incremental_deduped_history",
    "cursorField": ["updated_at"],
}


@pytest.fixture
def sdk(client: Client) -> Iterator[airbyte_api.AirbyteAPI]:
    credentials = models.SchemeClientCredentials(
        **asdict(client.credentials),
        token_url=f"{client.url}/api/public/v1/applications/token",
    )
    with airbyte_api.AirbyteAPI(
        server_url=f"{client.url}/api/public/v1", security=models.Security(client_credentials=credentials)
    ) as sdk:
        yield sdk


def test_airbytes_own_sdk(sdk: airbyte_api.AirbyteAPI, client: Client, tmp_path: Path) -> None:
    assert sdk.health.get_health_check().status_code == 200
    workspace = sdk.workspaces.list_workspaces(request={}).workspaces_response.data[0].workspace_id
    created = sdk.sources.create_source(
        request=models.SourceCreateRequest(
            name="shop",
            workspace_id=workspace,
            configuration=models.SourcePostgres(
                host="127.0.0.1",
                port=1,
                database="shop",
                username="airbyte",
                password="hidden",
                schemas=["public"],
            ),
        )
    ).source_response
    assert created.source_type == "postgres"
    got = sdk.sources.get_source(request=api.GetSourceRequest(source_id=created.source_id)).source_response
    assert isinstance(got.configuration, models.SourcePostgres)
    assert (got.configuration.database, got.configuration.password) == ("shop", "**********")
    destination = sdk.destinations.create_destination(
        request=models.DestinationCreateRequest(
            name="warehouse",
            workspace_id=workspace,
            configuration=models.DestinationSnowflake(
                host="acme.snowflakecomputing.com",
                role="LOADER",
                warehouse="LOADING",
                database="RAW",
                schema_="RETAIL",
                username="AIRBYTE",
                credentials=models.DestinationSnowflakeKeyPairAuthentication(private_key="hidden"),
            ),
        )
    ).destination_response
    assert destination.configuration.schema_ == "RETAIL"

    source_id = client.actor("source", "fake", {"rows": 7}, "runs")
    destination_id = client.actor("destination", "fake", {"path": str(tmp_path / "out")}, "runs")
    connection = sdk.connections.create_connection(
        request=models.ConnectionCreateRequest(
            name="runs",
            source_id=source_id,
            destination_id=destination_id,
            schedule=models.AirbyteAPIConnectionSchedule(schedule_type=models.ScheduleTypeEnum.MANUAL),
            configurations=models.StreamConfigurations(
                streams=[
                    models.StreamConfiguration(
                        name="things", sync_mode=models.ConnectionSyncModeEnum.INCREMENTAL_DEDUPED_HISTORY
                    )
                ]
            ),
        )
    ).connection_response
    listed = sdk.connections.list_connections(request=api.ListConnectionsRequest(workspace_ids=[workspace]))
    assert [one.name for one in listed.connections_response.data] == ["runs"]
    properties = sdk.streams.get_stream_properties(
        request=api.GetStreamPropertiesRequest(source_id=source_id)
    )
    assert properties.stream_properties_response[0].stream_name == "things"
    job = sdk.jobs.create_job(
        request=models.JobCreateRequest(
            connection_id=connection.connection_id, job_type=models.JobTypeEnum.SYNC
        )
    ).job_response
    client.ended(job.job_id)
    done = sdk.jobs.get_job(request=api.GetJobRequest(job_id=job.job_id)).job_response
    assert (done.status, done.rows_synced) == (models.JobStatusEnum.SUCCEEDED, 7)
    with pytest.raises(airbyte_api.errors.SDKError, match="404"):
        sdk.sources.get_source(request=api.GetSourceRequest(source_id="none"))


def test_dagster_airbyte(client: Client, tmp_path: Path) -> None:
    import dagster

    source = client.actor("source", "fake", {"rows": 9})
    destination = client.actor("destination", "fake", {"path": str(tmp_path / "out")})
    connection = client.connection(source, destination, [{"name": "things"}], prefix="raw_")
    workspace = dagster_airbyte.AirbyteWorkspace(
        rest_api_base_url=f"{client.url}/api/public/v1",
        configuration_api_base_url=f"{client.url}/api/v1",
        workspace_id=client.workspace,
        **asdict(client.credentials),
        poll_interval=0.1,
        request_max_retries=0,
    )
    (spec,) = workspace.load_asset_specs()
    assert spec.key.path == ["raw_things"]
    assert [column.name for column in spec.metadata["dagster/column_schema"].columns] == ["id", "text"]
    output = workspace.get_client().sync_and_poll(connection)
    assert (output.job_details["status"], output.job_details["rowsSynced"]) == ("succeeded", 9)
    client.call("PUT", f"/sources/{source}", {"name": "x", "configuration": {"rows": 1, "error": "broken"}})
    with pytest.raises(dagster.Failure, match="Job failed"):
        workspace.get_client().sync_and_poll(connection)
