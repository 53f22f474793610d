"""Many prompts and models into one folder of results, which a run that was interrupted goes on with."""
