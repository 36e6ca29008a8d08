"""The operator's commands: virtnet, mlxconfig, softdpu. They start fast: what is slow to import is imported late."""
