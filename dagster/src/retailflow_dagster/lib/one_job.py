"""A repository that offers one job, for a file that people give to ``dagster … -f``."""

from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg


class OneJob(dg.RepositoryData):
    """One job of `whole`, with all of its assets and checks.

    A file that holds the job alone breaks every command that lists what is in it, because the job's checks belong to
    assets that are not there. A file that holds `Definitions` breaks ``dagster job execute -f``, because these bring
    Dagster's own __ASSET_JOB along and the command wants a file with exactly one job.
    """

    def __init__(self, whole: dg.RepositoryDefinition, job_name: str) -> None:
        self._whole = whole
        self._job_name = job_name

    def get_all_jobs(self) -> Sequence[dg.JobDefinition]:
        """The one job."""
        return [self._whole.get_job(self._job_name)]

    def has_job(self, job_name: str) -> bool:
        """Also of __ASSET_JOB, by whose name ``dagster asset materialize`` asks."""
        return self._whole.has_job(job_name)

    def get_job(self, job_name: str) -> dg.JobDefinition:
        """Also __ASSET_JOB."""
        return self._whole.get_job(job_name)

    def get_top_level_resources(self) -> Mapping[str, dg.ResourceDefinition]:
        """As in the whole."""
        return self._whole.get_top_level_resources()

    def get_env_vars_by_top_level_resource(self) -> Mapping[str, Any]:
        """As in the whole."""
        return self._whole.get_env_vars_by_top_level_resource()

    def get_source_assets_by_key(self) -> Mapping[dg.AssetKey, Any]:
        """As in the whole."""
        return self._whole.source_assets_by_key

    def get_assets_defs_by_key(self) -> Mapping[dg.AssetKey, dg.AssetsDefinition]:
        """As in the whole."""
        return self._whole.assets_defs_by_key

    def get_asset_checks_defs_by_key(self) -> Mapping[dg.AssetCheckKey, dg.AssetChecksDefinition]:
        """As in the whole."""
        return self._whole.asset_checks_defs_by_key


def repository_of_one_job(definitions: dg.Definitions, job_name: str) -> dg.RepositoryDefinition:
    """What ``-f`` finds: the named job of the definitions, with all assets and checks."""
    whole = definitions.get_repository_def()
    return dg.RepositoryDefinition(job_name, repository_data=OneJob(whole, job_name))
