"""Reports on modules: one HTML page each, with a diagnosis and any composition's figures.

Examples:
    ```python
    mk.report.write_report(modules, "report.html", x_test=x_test, y_test=y_test)
    ```
"""

from moda_keras.reporting.write_report import write_report

__all__ = ["write_report"]
