"""Search methods of other libraries on tables, to be compared with; one small adapter a library (extra `peers`)."""

PEERS = {
    "optuna-tpe": "nas.peers.optuna:TPE",
    "optuna-tpe-multivariate": "nas.peers.optuna:MultivariateTPE",
    "optuna-gp": "nas.peers.optuna:GaussianProcess",
    "optuna-nsga2": "nas.peers.optuna:NSGA2",
    "pyglove-evolution": "nas.peers.pyglove:RegularizedEvolution",
}
"""The peers known by name, and where they are."""
