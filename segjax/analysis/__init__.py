"""What a traced program tells of a network: dependence, receptive field, cost, checkerboards."""
