def compare(options):
    raise NotImplementedError
