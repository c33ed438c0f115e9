from tests.stack.conftest import deployment_engine, new_project

__all__ = ["deployment_engine", "new_project"]
