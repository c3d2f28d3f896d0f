"""What gives meaning to a batch: a task turns a model into the seven functions of `core.Task`."""
