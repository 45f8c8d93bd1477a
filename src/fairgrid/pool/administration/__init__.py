"""The operator's side: who may administer and use a pool, what was decided, and why a task does not go on."""
