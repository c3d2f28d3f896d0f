"""What gives meaning to a batch: each task turns a model into the seven functions of `core.Task`."""
