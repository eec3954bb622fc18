"""transformers' own tests of processors and image processors, run on ours. What is left out says why."""

import unittest

import pytest

from mvfer.data.tokenizer import build_tokenizer
from processing import MVFERImageProcessor, MVFERProcessor
from tests.peer.mixins import load

processors, images = load("test_processing_common"), load("test_image_processing_common")
pytestmark = pytest.mark.slow


ITS_OWN_CODE = "what is saved also names the code beside it (auto_map), as for every processor that brings its own"


class MVFERProcessorTest(processors.ProcessorTesterMixin, unittest.TestCase):
    processor_class = MVFERProcessor

    @unittest.skip(ITS_OWN_CODE)
    def test_processor_from_and_save_pretrained(self): ...

    @unittest.skip(ITS_OWN_CODE)
    def test_processor_from_and_save_pretrained_as_nested_dict(self): ...

    @unittest.skip("some inputs are of several views or frames only, and these tests have flat photos")
    def test_model_input_names(self): ...

    @classmethod
    def _setup_image_processor(cls):
        return MVFERImageProcessor()

    @classmethod
    def _setup_tokenizer(cls):
        return build_tokenizer(["lower newer", "upper older longer string", "upper older"], vocab_size=600)


class ImageSizes(images.ImageProcessingTester):
    __test__ = False

    def __init__(self, parent, **settings):
        square = {"height": 18, "width": 18}
        super().__init__(parent, **{"size": {"shortest_edge": 20}, "crop_size": square} | settings)

    def _get_image_processing_classes(self):
        return {"pil": MVFERImageProcessor}


class MVFERImageProcessorTest(images.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = ImageSizes

    @unittest.skip("the package needs no torchvision: there is the PIL backend alone")
    def test_new_models_require_torchvision_backend(self): ...
