"""A cluster and the name of its folder."""

from __future__ import annotations

from metagym.envs.alfworld.families import Cluster, cluster_of


def test_a_cluster_reads_back_from_the_folder() -> None:
    cluster = Cluster("look_at_obj_in_light", "Mug", "DeskLamp", 301)
    assert cluster_of(cluster.folder) == cluster
