"""Export a trained student to other runtimes; float16 and int8; verification against the trained net."""
