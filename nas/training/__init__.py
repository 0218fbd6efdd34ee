"""Training: the evaluator that measures a genome by training its network, and the tasks that it trains on.

`tasks` names the tasks, `recipe` and `schedules` the optimiser's settings, `loop` trains a model, `evaluator`
makes metrics of a proposal. Importing this package, `tasks` or `recipe` imports no torch.
"""
