"""Search methods of other libraries on tables, to be compared with; one small adapter a library."""

LIGHT = {
    "optuna-tpe": "nas.peers.optuna:TPE",
    "optuna-tpe-multivariate": "nas.peers.optuna:MultivariateTPE",
    "optuna-gp": "nas.peers.optuna:GaussianProcess",
    "optuna-nsga2": "nas.peers.optuna:NSGA2",
    "pyglove-evolution": "nas.peers.pyglove:RegularizedEvolution",
}
"""Those whose libraries come with the extra `peers`."""

PEERS = {
    **LIGHT,
    "smac-rf": "nas.peers.smac:RandomForest",
    "syne-tune-bore": "nas.peers.syne_tune:DensityRatio",
    "syne-tune-cqr": "nas.peers.syne_tune:ConformalQuantiles",
}
"""The peers known by name, and where they are; the others' libraries, with all that these need, are of `more-peers`."""
