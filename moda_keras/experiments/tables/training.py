"""Table 2: the cost of modular training in accuracy and time."""

from moda_keras.experiments.config import ExperimentConfig
from moda_keras.experiments.experiment import Experiment, Row, Workspace, trainings


def _measure(workspace: Workspace, network: str, method: str, seed: int) -> Row:
    trained = workspace.train(network, method, seed)
    epochs = workspace.config.scaled(workspace.config.epochs)
    return {"accuracy": trained.accuracy, "seconds": trained.seconds, "epochs": epochs}


TRAINING = Experiment(
    name="training",
    title="Test accuracy and training time, standard and modular (MODA, table 2)",
    config_class=ExperimentConfig,
    key=("network", "method", "seed"),
    figures=("accuracy", "seconds", "epochs"),
    cells=trainings,
    measure=_measure,
    group_by=("network", "method"),
)
