from tests.tiny import face_obj, small_model, small_processor, small_run

__all__ = ["face_obj", "small_model", "small_processor", "small_run"]  # fixtures
