"""Reports on modules: one HTML page each, with a diagnosis and a composition worked out in it.

Example:
    ```python
    mk.report.write_report(modules, "report.html", x_test=x_test, y_test=y_test)
    ```
"""

from moda_keras.reporting.cost_model import CostModel, cost_model
from moda_keras.reporting.write_report import write_report

__all__ = ["CostModel", "cost_model", "write_report"]
